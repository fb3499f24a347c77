//! Opening a log: what stands in its files is compared with its newest checkpoint, and nothing is overwritten but the
//! torn end of an append that nobody was told of.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use time::OffsetDateTime;

use super::closer::{Closer, Word};
use super::closing::Closing;
use super::durable::{Journal, whole_lines, whole_notes};
use super::fault::{LogFault, io};
use super::growing::Growing;
use super::heads::{Heads, heads_file};
use super::keys;
use super::known::{Known, Looked, WINDOW};
use super::layout::Layout;
use super::log::{Appender, cut, open_segment};
use super::note::{Checkpoint, VerifyingKey, open_note};
use super::replay::{Replay, Torn};
use super::retention::{self, Retention};
use super::sealer::{Handle, Sealer, Settings};
use super::segments::{self, Closed};
use super::stager::{Span, Stager, ids_of};
use super::tree::Hash;
use crate::contract::Timestamp;

/// Opens or creates a log.
pub(super) fn open(folder: &Path, settings: Settings) -> Result<(Stager, Appender), LogFault> {
    let layout = Layout::new(folder);
    let segments = layout.segments_dir();
    std::fs::create_dir_all(&segments).map_err(io("create", &segments))?;
    let lock = lock(&layout)?;
    for created in [segments.as_path(), folder, folder.parent().unwrap_or(folder)] {
        File::open(created).and_then(|dir| dir.sync_all()).map_err(io("sync", created))?;
    }
    let now = Timestamp::new(OffsetDateTime::now_utc());
    let keys = keys::known(&layout, &settings.key)?;
    let newest = newest_checkpoint(&layout, &keys)?;
    let sealed = newest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
    // The first checkpoint comes before the first tile.
    if newest.is_none() && layout.tiles_dir().exists() {
        return Err(LogFault::Damaged { path: layout.checkpoint(), problem: "is missing" });
    }
    let found = find(&layout, newest.is_some())?;
    let tree = Growing::load(layout.clone(), sealed)?;
    if newest.as_ref().is_some_and(|(checkpoint, _)| tree.root() != Some(checkpoint.root)) {
        return Err(LogFault::Damaged {
            path: layout.tiles_dir(),
            problem: "does not lead to the newest checkpoint's root",
        });
    }
    let replayed = replay(&layout, &found, sealed, now)?;
    // A log has a checkpoint before it has a line, so somebody has taken it away.
    if newest.is_none() && replayed.spans.iter().any(|span| span.lines > 0) {
        return Err(LogFault::Damaged { path: layout.checkpoint(), problem: "is missing" });
    }
    let start = Start { layout, settings, newest, found, tree, replayed, now };
    start.go(lock)
}

/// What lies in the folder.
struct Found {
    ledger: Vec<Closed>,
    heads_size: u64,
    heads: Heads,
    /// First indices of raw segments that the ledger does not have yet.
    raw: Vec<u64>,
    dropped: u64,
}

/// What the lines after the heads said.
struct Replayed {
    heads: Heads,
    /// The same after the last segment of the ledger.
    closed_heads: Heads,
    known: Known,
    /// Segments that the ledger does not have, with their lines; the last one is open.
    spans: Vec<Span>,
    /// Leaves that no checkpoint covers.
    leaves: Vec<Hash>,
    acts: Vec<(u64, Vec<u8>)>,
}

fn find(layout: &Layout, has_checkpoint: bool) -> Result<Found, LogFault> {
    let ledger = ledger(layout)?;
    let heads_file = heads_file(layout);
    let (heads_size, heads) = Heads::load(&heads_file)?;
    let end = ledger.last().map_or(0, |last| last.first + last.lines);
    if !has_checkpoint && (heads_size > 0 || end > 0) {
        return Err(LogFault::Damaged { path: layout.checkpoint(), problem: "is missing" });
    }
    if heads_size > end {
        return Err(LogFault::Damaged { path: layout.ledger(), problem: "lacks closed segments" });
    }
    let (_, dropped) = retention::read(layout)?;
    if heads_size < dropped {
        return Err(LogFault::Damaged { path: heads_file, problem: "lacks lines that retention has dropped" });
    }
    for segment in ledger.iter().filter(|segment| segment.first >= dropped) {
        let raw = layout.segment(segment.first);
        if !raw.exists() && !layout.closed(segment.first).exists() {
            return Err(LogFault::MissingSegment(raw));
        }
    }
    let raw = unlisted(layout, end)?;
    Ok(Found { ledger, heads_size, heads, raw, dropped })
}

/// Reads the ledger of closed segments; each begins where the one before it ends.
fn ledger(layout: &Layout) -> Result<Vec<Closed>, LogFault> {
    let path = layout.ledger();
    Journal::open(&path, whole_lines)?;
    let ledger = segments::ledger(layout)?;
    let mut next = 0;
    for closed in &ledger {
        if closed.first != next || times_of(closed).is_none() {
            return Err(LogFault::Damaged { path, problem: "is not the list of closed segments" });
        }
        next = closed.first + closed.lines;
    }
    Ok(ledger)
}

/// Raw segments beyond the ledger, by their first index.
fn unlisted(layout: &Layout, end: u64) -> Result<Vec<u64>, LogFault> {
    let mut raw = Vec::new();
    for segment in segments::segments(layout)?.into_iter().filter(|segment| segment.first >= end) {
        if segment.compressed {
            return Err(LogFault::Damaged { path: layout.ledger(), problem: "lacks closed segments" });
        }
        raw.push(segment.first);
    }
    Ok(raw)
}

/// The newest note of the history, which is the newest there is.
fn newest_checkpoint(layout: &Layout, keys: &[VerifyingKey]) -> Result<Option<(Checkpoint, String)>, LogFault> {
    let path = layout.history();
    let tail = Journal::open(&path, whole_notes)?.tail()?;
    let opened = |note: &str, path: &Path| {
        open_note(note, keys)
            .map_err(|fault| LogFault::Checkpoint { path: path.to_owned(), problem: fault.to_string() })
    };
    let end = tail.len().saturating_sub(1);
    let last = whole_notes(&tail[..end]);
    let note = String::from_utf8_lossy(&tail[last..end]).into_owned();
    let head = super::durable::read(&layout.checkpoint())?;
    if note.is_empty() {
        return match head {
            Some(_) => Err(LogFault::Damaged { path, problem: "lacks the newest checkpoint" }),
            None => Ok(None),
        };
    }
    let checkpoint = opened(&note, &path)?;
    match head {
        Some(head) if head != note.as_bytes() => {
            // The history is written first, so only a note older than its last one may stand there.
            let older = opened(&String::from_utf8_lossy(&head), &layout.checkpoint())?;
            if older.size > checkpoint.size || older.time > checkpoint.time {
                return Err(LogFault::Damaged { path, problem: "lacks the newest checkpoint" });
            }
        }
        _ => {}
    }
    Ok(Some((checkpoint, note)))
}

/// Reads every line after the heads, and the ids of the lines of the last day before them.
fn replay(layout: &Layout, found: &Found, sealed: u64, now: Timestamp) -> Result<Replayed, LogFault> {
    let horizon = Timestamp::new(now.moment() - WINDOW);
    let mut known = Known::new(horizon, now);
    let listed: Vec<Span> = found.ledger.iter().map(|closed| span_of(closed, now)).collect();
    for span in listed.iter().filter(|span| span.first < found.heads_size && span.first >= found.dropped) {
        if span.times.is_some_and(|(_, newest)| newest > horizon) {
            for id in ids_of(layout, span)? {
                known.insert(uuid::Uuid::from_u128(id));
            }
        }
    }
    let mut replay = Replay::new(layout.clone(), found.heads.clone(), known, sealed);
    for span in listed.iter().filter(|span| span.first >= found.heads_size) {
        replay.segment(span.first, Torn::Refused)?;
    }
    let closed_heads = replay.heads().clone();
    let end = listed.last().map_or(0, |last| last.first + last.lines);
    let (mut spans, mut next) = (Vec::new(), end);
    for (place, first) in found.raw.iter().enumerate() {
        if *first != next {
            return Err(LogFault::MissingSegment(layout.segment(next)));
        }
        let torn = if place + 1 == found.raw.len() { Torn::Cut } else { Torn::Refused };
        let span = replay.segment(*first, torn)?;
        next = span.first + span.lines;
        spans.push(span);
    }
    if next < sealed {
        return Err(LogFault::Short { folder: layout.segments_dir(), lines: next, covered: sealed });
    }
    if spans.is_empty() {
        spans.push(Span::new(end));
    }
    let (heads, known, leaves, acts) = replay.done();
    Ok(Replayed { heads, closed_heads, known, spans, leaves, acts })
}

fn span_of(closed: &Closed, now: Timestamp) -> Span {
    // Every line was there when the segment was closed.
    let by = closed.closed.as_deref().and_then(Timestamp::parse).unwrap_or(now);
    let times = times_of(closed);
    let mut span = Span { first: closed.first, lines: closed.lines, bytes: closed.bytes, times, ahead: None };
    span.written_by(by);
    span
}

fn times_of(closed: &Closed) -> Option<(Timestamp, Timestamp)> {
    Timestamp::parse(&closed.oldest).zip(Timestamp::parse(&closed.newest))
}

/// Everything is sound.
struct Start {
    layout: Layout,
    settings: Settings,
    newest: Option<(Checkpoint, String)>,
    found: Found,
    tree: Growing,
    replayed: Replayed,
    now: Timestamp,
}

impl Start {
    fn go(self, lock: File) -> Result<(Stager, Appender), LogFault> {
        let Self { layout, settings, newest, found, mut tree, replayed, now } = self;
        // A key is published before it signs.
        if newest.is_some() && keys::published(&layout)?.is_empty() {
            return Err(LogFault::Damaged { path: layout.vkeys(), problem: "is missing" });
        }
        let since = newest.as_ref().map_or(now, |(checkpoint, _)| now.max(checkpoint.time));
        let keys = keys::publish(&layout, &settings.key, since)?;
        for leaf in replayed.leaves {
            tree.push(leaf);
        }
        let open = replayed.spans.last().copied().unwrap_or(Span::new(tree.size()));
        let path = layout.segment(open.first);
        let mut file = open_segment(&path)?;
        // A torn last line goes, and the rest is durable before a checkpoint signs it.
        cut(&mut file, &path, open.bytes)?;
        let retention = Retention::open(layout.clone(), settings.retention)?;
        let segment_bytes = settings.segment_bytes;
        let listed = found.ledger.iter().map(|closed| span_of(closed, now));
        let mut spans: Vec<Span> = listed.chain(replayed.spans.iter().copied()).collect();
        for span in spans.iter_mut().skip(found.ledger.len()) {
            span.written_by(now);
        }
        let closed = found.ledger.last().map_or(0, |last| last.first + last.lines);
        if found.heads_size < closed {
            // A crash came between the ledger and the heads.
            replayed.closed_heads.save(&heads_file(&layout), closed)?;
        }
        let closing = Closing::new(layout.clone(), found.ledger, (closed, replayed.closed_heads), retention)?;
        let closer = Closer::start(closing)?;
        let (_, unlisted) = replayed.spans.split_last().unwrap_or((&open, &[]));
        for span in unlisted {
            closer.tell(Word::Closed(span.first, span.lines))?;
        }
        for (index, line) in replayed.acts {
            closer.tell(Word::Act(index, line))?;
        }
        let sealer: Handle = Sealer::new(settings, layout.clone(), (tree, keys), newest, closer)?.start()?;
        let began = open.times.map_or(now, |(_, newest)| newest.min(now));
        let stager = Stager {
            layout: layout.clone(),
            heads: replayed.heads,
            known: replayed.known,
            looked: Looked::default(),
            spans,
            day: began.moment().to_julian_day(),
            segment_bytes,
        };
        let (first, lines, durable) = (open.first, open.lines, open.bytes);
        Ok((stager, Appender { layout, path, file, first, lines, durable, torn: false, sealer, _lock: lock }))
    }
}

fn lock(layout: &Layout) -> Result<File, LogFault> {
    let path = layout.lock();
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogFault::Locked(path.parent().unwrap_or(&path).to_owned())),
        Err(TryLockError::Error(source)) => Err(io("lock", &path)(source)),
    }
}
