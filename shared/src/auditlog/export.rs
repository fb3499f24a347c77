//! One tenant's lines with proofs, and the proof of one event: complete, signed, and with nothing of other tenants.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use uuid::Uuid;

use super::entry::RETENTION_PRUNED;
use super::layout::Layout;
use super::line::Fields;
use super::note::{Checkpoint, NoteFault, SigningKey, first_end, history, open_note};
use super::proof::{Manifest, Proof, PublishedFault, published_keys};
use super::segments::{Lines, SegmentFault, segments};
use super::tile::{TileFault, Tiles};
use super::tree::{Hash, consistency, inclusion, leaf};
use crate::contract::{TenantId, Timestamp};

/// Bytes of the newest checkpoints that an export has: about fourteen thousand of them.
const MOST_HISTORY: u64 = 4 << 20;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// Reading or writing failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lines cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentFault),
    /// The tree cannot be read.
    #[error(transparent)]
    Tile(#[from] TileFault),
    /// The log's checkpoint cannot be used.
    #[error("the log's checkpoint cannot be used: {0}")]
    Checkpoint(#[from] NoteFault),
    /// The log's keys cannot be used.
    #[error(transparent)]
    Keys(#[from] PublishedFault),
    /// The key is of another log.
    #[error("the key is of log {key}, and this is {origin}: give the key that signs this log's checkpoints")]
    OtherLog {
        /// Name in the key.
        key: String,
        /// Name of the log.
        origin: String,
    },
    /// A line is not what the tree says.
    #[error("{} line {line} is not what the tree says: run millrace audit verify before anything is exported", path.display())]
    Altered {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// Indexes that the checkpoint covers have no line, or two, and no retention record says why.
    #[error(
        "the files do not have the lines from index {from} up to {to} once each: run millrace audit verify before anything is exported"
    )]
    Incomplete {
        /// The first index.
        from: u64,
        /// The one after the last.
        to: u64,
    },
    /// Nothing of what was asked for is there.
    #[error("{0}")]
    Nothing(String),
    /// The folder has something in it.
    #[error("{} is not empty: name a new folder", .0.display())]
    Occupied(PathBuf),
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Lines.
    pub lines: u64,
    /// The tenant's numbers of the first and the last of them.
    pub numbers: (u64, u64),
    /// Size of the tree that the proofs lead to.
    pub size: u64,
}

/// A log, opened for reading at its newest checkpoint.
struct Source {
    layout: Layout,
    note: String,
    checkpoint: Checkpoint,
    tiles: Tiles,
}

impl Source {
    fn open(log: &Path) -> Result<Self, ExportFault> {
        let layout = Layout::new(log);
        let path = layout.checkpoint();
        let note = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        let checkpoint = open_note(&note, &published_keys(&layout)?)?;
        let tiles = Tiles::new(layout.clone(), checkpoint.size);
        Ok(Self { layout, note, checkpoint, tiles })
    }

    fn prove(&mut self, index: u64) -> Result<Proof, ExportFault> {
        Ok(Proof { index, hashes: inclusion(&mut self.tiles, index, self.checkpoint.size)? })
    }

    /// Every covered line with its index, each compared with the tree; those that are `wanted` are handed on. That no
    /// index is left out, but for what retention dropped, is what makes an export complete.
    fn each(
        &mut self,
        wanted: impl Fn(&[u8]) -> bool,
        mut take: impl FnMut(&mut Self, u64, &[u8]) -> Result<(), ExportFault>,
    ) -> Result<(), ExportFault> {
        let size = self.checkpoint.size;
        let dropped = self.dropped()?;
        let mut next = 0;
        for segment in segments(&self.layout)?.into_iter().filter(|segment| segment.first < size) {
            next = reach(&dropped, next, segment.first)?;
            let mut lines = Lines::open(&segment)?;
            while next < size
                && let Some(line) = lines.next_line()?
            {
                if self.tiles.leaf(next)? != leaf(line.bytes()) {
                    return Err(ExportFault::Altered { path: segment.path.clone(), line: line.number });
                }
                if wanted(line.bytes()) {
                    take(self, next, line.bytes())?;
                }
                next += 1;
            }
        }
        reach(&dropped, next, size).map(|_| ())
    }

    /// The ranges that retention dropped by lines that the tree has, rising.
    fn dropped(&mut self) -> Result<Vec<(u64, u64)>, ExportFault> {
        let path = self.layout.retention();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(fault) => return Err(io("read", &path)(fault)),
        };
        let mut ranges = Vec::new();
        for line in text.lines() {
            let Some((index, hash, range)) = recorded(line).filter(|(index, ..)| *index < self.checkpoint.size) else {
                continue;
            };
            if self.tiles.leaf(index)? == hash {
                ranges.push(range);
            }
        }
        ranges.sort_unstable();
        Ok(ranges)
    }

    /// What every export has: checkpoint, history and keys.
    fn write_frame(&mut self, out: &Layout) -> Result<(), ExportFault> {
        write(&out.checkpoint(), self.note.as_bytes())?;
        let keys = self.layout.vkeys();
        write(&out.vkeys(), &std::fs::read(&keys).map_err(io("read", &keys))?)
    }

    /// The newest part of the history, with a consistency proof for each of its sizes.
    fn write_history(&mut self, out: &Layout) -> Result<(), ExportFault> {
        let text = newest_notes(&self.layout.history())?;
        let mut file = Created::new(&out.history())?;
        let mut proofs = Created::new(&out.consistency())?;
        let mut last = 0;
        for note in history(&text) {
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            let Some(size) = size.filter(|size| *size <= self.checkpoint.size) else { continue };
            file.write(note.as_bytes())?;
            file.write(b"\n")?;
            if size > last && size < self.checkpoint.size {
                let hashes = consistency(&mut self.tiles, size, self.checkpoint.size)?;
                let hashes: String = hashes.iter().map(|hash| format!("{}\n", hash.to_base64())).collect();
                proofs.write(format!("size {size}\n{hashes}\n").as_bytes())?;
                last = size;
            }
        }
        proofs.finish()?;
        file.finish()
    }

    /// The retention records with a proof for each; returns the ranges that they dropped.
    fn write_retention(&mut self, out: &Layout) -> Result<Vec<(u64, u64)>, ExportFault> {
        let path = self.layout.retention();
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Vec::new()) };
        let mut file = Created::new(&out.retention())?;
        let mut proofs = Created::new(&out.retention_proofs())?;
        let mut dropped = Vec::new();
        for line in text.lines() {
            let Some((index, _, range)) = recorded(line).filter(|(index, ..)| *index < self.checkpoint.size) else {
                continue;
            };
            file.write(line.as_bytes())?;
            file.write(b"\n")?;
            let proof = self.prove(index)?;
            proofs.write(format!("{}\n", proof.render()).as_bytes())?;
            dropped.push(range);
        }
        proofs.finish()?;
        file.finish()?;
        Ok(dropped)
    }

    /// Where the dropped line before the first one stood.
    fn write_boundary(&mut self, out: &Layout, before: Hash, dropped: &[(u64, u64)]) -> Result<(), ExportFault> {
        for (from, to) in dropped {
            for index in *from..*to {
                if self.tiles.leaf(index)? == before {
                    let proof = self.prove(index)?;
                    return write(&out.boundary(), format!("{}\n", proof.render()).as_bytes());
                }
            }
        }
        Err(ExportFault::Nothing(format!(
            "the line before the tenant's first one ({before}) was not dropped by retention: run millrace audit verify"
        )))
    }
}

/// Whole notes from the end of the history: what an export costs must not grow with the age of the log.
fn newest_notes(path: &Path) -> Result<String, ExportFault> {
    let mut file = File::open(path).map_err(io("read", path))?;
    let length = file.metadata().map_err(io("read", path))?.len();
    let from = length.saturating_sub(MOST_HISTORY);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.take(MOST_HISTORY).read_to_end(&mut bytes))
        .map_err(io("read", path))?;
    let begin = if from == 0 { 0 } else { first_end(&bytes).unwrap_or(bytes.len()) };
    Ok(String::from_utf8_lossy(&bytes[begin..]).into_owned())
}

/// The index and the hash of a retention record's line, and the range that it dropped.
fn recorded(line: &str) -> Option<(u64, Hash, (u64, u64))> {
    #[derive(serde::Deserialize)]
    struct Kept {
        index: u64,
        line: String,
    }
    let kept: Kept = serde_json::from_str(line).ok()?;
    let fields = Fields::read(kept.line.as_bytes())?;
    let ours = fields.org_id == TenantId::OPERATOR && fields.action == RETENTION_PRUNED;
    let record: super::PruneRecord = serde_json::from_str(fields.metadata).ok().filter(|_| ours)?;
    Some((kept.index, leaf(kept.line.as_bytes()), (record.from, record.to)))
}

/// `to`, when every index from `at` up to it was dropped.
fn reach(dropped: &[(u64, u64)], mut at: u64, to: u64) -> Result<u64, ExportFault> {
    let missing = |from, to| Err(ExportFault::Incomplete { from, to });
    if at > to {
        return missing(to, at);
    }
    for (from, end) in dropped {
        if *from <= at {
            at = at.max(*end);
        }
    }
    if at >= to { Ok(to) } else { missing(at, to) }
}

/// Writes one tenant's lines with everything that proves them complete into a new folder.
///
/// # Errors
/// [`ExportFault`].
pub fn export(log: &Path, org_id: &str, out: &Path, key: &SigningKey) -> Result<Exported, ExportFault> {
    let mut source = Source::open(log)?;
    let checkpoint = source.checkpoint.clone();
    if key.name() != checkpoint.origin {
        return Err(ExportFault::OtherLog { key: key.name().to_owned(), origin: checkpoint.origin });
    }
    let out = vacant(out)?;
    let mut lines = Created::new(&out.export_lines())?;
    let mut proofs = Created::new(&out.export_proofs())?;
    let (mut count, mut first, mut last) = (0, None, 0);
    let quoted = format!(r#","org_id":"{org_id}","#);
    // The tenant's name stands at a fixed place, behind the timestamp.
    let is_tenants = |line: &[u8]| line.get(42..).is_some_and(|rest| rest.starts_with(quoted.as_bytes()));
    source.each(is_tenants, |source, index, line| {
        let position = Fields::read(line).and_then(|fields| fields.position);
        let position = position.ok_or_else(|| ExportFault::Nothing(format!("line {index} has no position")))?;
        lines.write(line)?;
        lines.write(b"\n")?;
        let proof = source.prove(index)?;
        proofs.write(format!("{}\n", proof.render()).as_bytes())?;
        first.get_or_insert(position);
        (count, last) = (count + 1, position.tenant_seq);
        Ok(())
    })?;
    lines.finish()?;
    proofs.finish()?;
    let first = first.ok_or_else(|| ExportFault::Nothing(format!("the log has no line of {org_id}")))?;
    source.write_frame(&out)?;
    source.write_history(&out)?;
    let dropped = source.write_retention(&out)?;
    if first.tenant_seq > 1 {
        source.write_boundary(&out, first.prev_hash, &dropped)?;
    }
    let numbers = (first.tenant_seq, last);
    let manifest =
        Manifest::at(&checkpoint, org_id, (count, first.tenant_seq, last), Timestamp::new(OffsetDateTime::now_utc()));
    write(&out.export_manifest(), manifest.sign(key).as_bytes())?;
    Ok(Exported { lines: count, numbers, size: checkpoint.size })
}

/// One event's line and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The stored line, without a line feed.
    pub line: Vec<u8>,
    /// The proof, with the checkpoint that it leads to: a `.tlog-proof` file.
    pub proof: String,
    /// The line's index.
    pub index: u64,
}

/// Proves one event; with `out` the proof is also written into a new folder that can be verified by itself.
///
/// # Errors
/// [`ExportFault`].
pub fn prove(log: &Path, event: Uuid, out: Option<&Path>) -> Result<Proved, ExportFault> {
    let mut source = Source::open(log)?;
    let text = format!(r#","event_id":"{event}","#);
    let finder = memchr::memmem::Finder::new(text.as_bytes());
    let mut found = None;
    source.each(
        |line| finder.find(line).is_some() && Fields::read(line).is_some_and(|fields| fields.event_id == event),
        |source, index, line| {
            let proof = source.prove(index)?;
            found = Some((index, line.to_vec(), proof));
            Ok(())
        },
    )?;
    let nothing = || ExportFault::Nothing(format!("no signed line of this log has event {event}"));
    let (index, line, proof) = found.ok_or_else(nothing)?;
    if let Some(out) = out {
        let out = vacant(out)?;
        write(&out.export_lines(), &[line.as_slice(), b"\n"].concat())?;
        write(&out.export_proofs(), format!("{}\n", proof.render()).as_bytes())?;
        source.write_frame(&out)?;
        source.write_history(&out)?;
    }
    Ok(Proved { line, proof: format!("{}\n{}", proof.render(), source.note), index })
}

fn vacant(out: &Path) -> Result<Layout, ExportFault> {
    std::fs::create_dir_all(out).map_err(io("create", out))?;
    let mut entries = std::fs::read_dir(out).map_err(io("read", out))?;
    if entries.next().is_some() { Err(ExportFault::Occupied(out.to_owned())) } else { Ok(Layout::new(out)) }
}

/// A new file that is durable when it is finished.
struct Created {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Created {
    fn new(path: &Path) -> Result<Self, ExportFault> {
        let file = BufWriter::new(File::create_new(path).map_err(io("create", path))?);
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportFault> {
        self.file.write_all(bytes).map_err(io("write", &self.path))
    }

    fn finish(mut self) -> Result<(), ExportFault> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_data()).map_err(io("write", &self.path))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportFault> {
    let mut file = Created::new(path)?;
    file.write(bytes)?;
    file.finish()
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportFault {
    let path = path.to_owned();
    move |source| ExportFault::Io { doing, path, source }
}
