//! The writer's thinking half: which events become lines, where they stand, and what they hash to. It does no I/O but to
//! look for old events, so it can work on the next lines while the last ones become durable.

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::abreast::{ABREAST, leaves};
use super::entry::Entry;
use super::fault::LogFault;
use super::heads::Heads;
use super::known::{Ids, Known, Looked, WINDOW, is_ahead};
use super::layout::Layout;
use super::line::{Fields, splice};
use super::segments::{Lines, SegmentFault};
use super::tree::Hash;
use crate::contract::Timestamp;

/// Lines that are to be written together, and durable together.
#[derive(Debug, Default)]
pub struct Block {
    /// The segment that begins with these lines.
    pub(super) opens: Option<u64>,
    /// Index of the first line.
    pub(super) first: u64,
    /// The stored lines, each with its line feed.
    pub(super) bytes: Vec<u8>,
    pub(super) leaves: Vec<Hash>,
    /// Operators' acts among them.
    pub(super) acts: Vec<(u64, Vec<u8>)>,
}

impl Block {
    /// How many lines.
    pub fn lines(&self) -> usize {
        self.leaves.len()
    }

    /// The bytes that are appended.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A segment and the times of its lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// Oldest and newest; a segment without lines has none.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// Since when it may have lines that came before their own time: their ids may be forgotten when that time comes.
    pub(super) ahead: Option<Timestamp>,
}

impl Span {
    pub(super) fn new(first: u64) -> Self {
        Self { first, lines: 0, bytes: 0, times: None, ahead: None }
    }

    pub(super) fn add(&mut self, at: Timestamp, bytes: u64) {
        self.lines += 1;
        self.bytes += bytes;
        self.times = Some(self.times.map_or((at, at), |(oldest, newest)| (oldest.min(at), newest.max(at))));
    }

    /// Notes that all its lines were there by then.
    pub(super) fn written_by(&mut self, by: Timestamp) {
        self.ahead = self.times.filter(|(_, newest)| is_ahead(*newest, by)).map(|_| by);
    }

    fn covers(&self, at: Timestamp) -> bool {
        self.times.is_some_and(|(oldest, newest)| oldest <= at && at <= newest)
    }
}

/// See the module's words.
#[derive(Debug)]
pub struct Stager {
    pub(super) layout: Layout,
    pub(super) heads: Heads,
    pub(super) known: Known,
    pub(super) looked: Looked,
    /// Every segment, oldest first; the last one is open.
    pub(super) spans: Vec<Span>,
    /// The UTC day on which the open segment began, as a Julian day.
    pub(super) day: i32,
    pub(super) segment_bytes: u64,
}

impl Stager {
    /// Turns what has no line yet into lines, behind those of a block that is empty. After an error nothing has been staged, and the
    /// same call may be made again.
    ///
    /// # Errors
    /// [`LogFault::Io`]: an old segment, where a copy of an old event may stand, cannot be read.
    pub fn stage(&mut self, entries: &[Entry], block: &mut Block) -> Result<(), LogFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        // Before the search: what were forgotten after it would be neither looked for in the files nor known to `insert`.
        self.known.forget(now);
        let written = self.search(entries, now)?;
        if self.rotates(now) && !entries.is_empty() {
            let next = self.next();
            self.spans.push(Span::new(next));
            self.day = now.moment().to_julian_day();
            block.opens = Some(next);
        }
        block.first = self.next();
        // By itself, so that a processor can look for many ids at once: each is somewhere else in memory.
        let is_new = |entry: &&Entry| !written.contains(&entry.event_id()) && self.known.insert(entry.event_id());
        let new: Vec<&Entry> = entries.iter().filter(is_new).collect();
        let ahead = new.iter().any(|entry| is_ahead(entry.timestamp(), now));
        let mut wave: Vec<(&Entry, usize)> = Vec::with_capacity(ABREAST);
        for entry in new {
            let head = self.heads.place(entry.org_id());
            // A line holds the hash of its tenant's line before.
            if wave.len() == ABREAST || wave.iter().any(|(_, other)| *other == head) {
                self.add(&wave, block);
                wave.clear();
            }
            wave.push((entry, head));
        }
        self.add(&wave, block);
        if let Some(open) = self.spans.last_mut().filter(|_| ahead) {
            // The first of them is forgotten first.
            open.ahead.get_or_insert(now);
        }
        Ok(())
    }

    /// Index of the next line.
    pub(super) fn next(&self) -> u64 {
        self.spans.last().map_or(0, |open| open.first + open.lines)
    }

    fn rotates(&self, now: Timestamp) -> bool {
        let Some(open) = self.spans.last() else { return false };
        open.lines > 0 && (open.bytes >= self.segment_bytes || now.moment().to_julian_day() > self.day)
    }

    /// Adds lines of different tenants, each with the place of its tenant's head.
    fn add(&mut self, wave: &[(&Entry, usize)], block: &mut Block) {
        let (mut bounds, first) = ([(0, 0); ABREAST], block.leaves.len());
        for ((entry, head), bounds) in wave.iter().zip(&mut bounds) {
            let head = self.heads.at(*head);
            head.tenant_seq += 1;
            let begin = block.bytes.len();
            splice(entry.line(), head, &mut block.bytes);
            *bounds = (begin, block.bytes.len());
            block.bytes.push(b'\n');
        }
        let lines = bounds.map(|(begin, end)| &block.bytes[begin..end]);
        leaves(&lines[..wave.len()], &mut block.leaves);
        for (place, (entry, head)) in wave.iter().enumerate() {
            self.heads.at(*head).prev_hash = block.leaves[first + place];
            if entry.act().is_some() {
                block.acts.push((block.first + (first + place) as u64, lines[place].to_vec()));
            }
            if let Some(open) = self.spans.last_mut() {
                open.add(entry.timestamp(), lines[place].len() as u64 + 1);
            }
        }
    }

    /// Which of the events that are too old for the memory stand in a segment of their time. One reading a segment.
    fn search(&mut self, entries: &[Entry], now: Timestamp) -> Result<HashSet<Uuid>, LogFault> {
        let (closed, open) = self.spans.split_at(self.spans.len().saturating_sub(1));
        // What was written within the window is in memory.
        let is_forgotten = |span: &Span| span.ahead.is_some_and(|by| now.moment() - by.moment() >= WINDOW);
        let ahead: Vec<&Span> = self.spans.iter().filter(|span| is_forgotten(span)).collect();
        let may_be_older = |entry: &Entry| {
            let at = entry.timestamp();
            self.known.may_be_older(at, now) || ahead.iter().any(|span| span.covers(at))
        };
        let wanted: Vec<&Entry> =
            entries.iter().filter(|entry| may_be_older(entry) && !self.known.contains(entry.event_id())).collect();
        let mut written = HashSet::new();
        if wanted.is_empty() {
            return Ok(written);
        }
        for (span, is_open) in closed.iter().map(|span| (span, false)).chain(open.iter().map(|span| (span, true))) {
            let is_here = |entry: &&&Entry| {
                let at = entry.timestamp();
                span.covers(at) && (is_forgotten(span) || self.known.may_be_older(at, now))
            };
            let here: Vec<Uuid> = wanted.iter().filter(is_here).map(|entry| entry.event_id()).collect();
            if here.is_empty() {
                continue;
            }
            let read = if self.looked.get(span.first).is_none() { Some(ids_of(&self.layout, span)?) } else { None };
            let ids = self.looked.get(span.first).or(read.as_ref());
            written.extend(here.into_iter().filter(|id| ids.is_some_and(|ids| ids.contains(&id.as_u128()))));
            if let Some(ids) = read.filter(|_| !is_open) {
                self.looked.keep(span.first, ids);
            }
        }
        Ok(written)
    }
}

/// The ids in a segment. One that retention has dropped has none.
pub(super) fn ids_of(layout: &Layout, span: &Span) -> Result<Ids, LogFault> {
    let mut ids = Ids::default();
    let Some(mut lines) = lines_of(layout, span.first)? else { return Ok(ids) };
    while lines.number() < span.lines {
        let Some(line) = lines.next_line()? else { break };
        let (bytes, number) = (line.bytes(), line.number);
        let foreign = || LogFault::Foreign { path: layout.segment(span.first), line: number };
        ids.insert(Fields::read(bytes).ok_or_else(foreign)?.event_id.as_u128());
    }
    Ok(ids)
}

/// The lines of a segment, raw or compressed; it may become compressed between two looks. `None` when it is dropped.
pub(super) fn lines_of(layout: &Layout, first: u64) -> Result<Option<Lines>, LogFault> {
    for (path, compressed) in [(layout.segment(first), false), (layout.closed(first), true)] {
        match Lines::of_file(&path, compressed) {
            Err(SegmentFault::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            opened => return Ok(Some(opened?)),
        }
    }
    Ok(None)
}
