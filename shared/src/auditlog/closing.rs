//! Closed segments: the ledger, the tenants' heads, compression, and what retention drops.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::durable::{Journal, whole_lines};
use super::fault::{LogFault, io};
use super::heads::{Heads, heads_file};
use super::layout::Layout;
use super::line::{Fields, Position};
use super::packing::pack;
use super::retention::Retention;
use super::segments::{Closed, Lines};
use super::tree::leaf;
use crate::chaos::{Point, pass};
use crate::contract::Timestamp;
use crate::telemetry::chain;

/// Does everything that comes after a segment's last line.
pub(super) struct Closing {
    layout: Layout,
    ledger: Journal,
    closed: Vec<Closed>,
    heads: Heads,
    /// Lines that the heads on disk cover.
    heads_size: u64,
    waiting: VecDeque<(u64, u64)>,
    to_pack: VecDeque<u64>,
    retention: Retention,
}

impl Closing {
    /// Takes over the segments of the ledger, and the heads after `heads_size` lines.
    pub(super) fn new(
        layout: Layout,
        closed: Vec<Closed>,
        (heads_size, heads): (u64, Heads),
        retention: Retention,
    ) -> Result<Self, LogFault> {
        let ledger = Journal::open(&layout.ledger(), whole_lines)?;
        // Those that an earlier process left uncompressed; for all others a look is enough.
        let to_pack =
            closed.iter().map(|closed| closed.first).filter(|first| layout.segment(*first).exists()).collect();
        let waiting = VecDeque::new();
        Ok(Self { layout, ledger, closed, heads, heads_size, waiting, to_pack, retention })
    }

    /// Folder of the segments.
    pub(super) fn folder(&self) -> PathBuf {
        self.layout.segments_dir()
    }

    /// Are there segments that nobody has compressed yet?
    pub(super) fn has_to_pack(&self) -> bool {
        !self.to_pack.is_empty()
    }

    /// Compresses one segment. If the disk refuses, its raw file stays, and the next start tries again.
    pub(super) fn pack_one(&mut self, stop: &AtomicBool) {
        let Some(first) = self.to_pack.pop_front() else { return };
        if let Err(fault) = pack(&self.layout.segment(first), &self.layout.closed(first), stop) {
            tracing::error!(error = chain(&fault), "a closed segment could not be compressed");
        }
    }

    /// A segment gets no more lines.
    pub(super) fn closed(&mut self, first: u64, lines: u64) {
        self.waiting.push_back((first, lines));
    }

    /// An operator's act has its line.
    pub(super) fn act(&mut self, index: u64, line: Vec<u8>) {
        self.retention.asked(index, line);
    }

    /// Does what a checkpoint of this size allows. A retention record is kept by itself before the heads go past it.
    pub(super) fn work(&mut self, sealed: u64) -> Result<(), LogFault> {
        self.retention.work(sealed, self.heads_size, &self.closed)?;
        while let Some((first, lines)) = self.waiting.front().copied().filter(|(first, lines)| first + lines <= sealed)
        {
            self.close(first, lines)?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn close(&mut self, first: u64, lines: u64) -> Result<(), LogFault> {
        // Not if it was this far before the disk refused.
        if self.closed.last().is_none_or(|last| last.first < first) {
            let record = self.summarise(first, lines)?;
            let mut text = serde_json::to_vec(&record)
                .map_err(|fault| io("describe", &self.layout.segment(first))(std::io::Error::other(fault)))?;
            text.push(b'\n');
            self.ledger.append(&text)?;
            self.closed.push(record);
            pass(Point::AfterLedger);
        }
        self.heads.save(&heads_file(&self.layout), first + lines)?;
        self.heads_size = first + lines;
        self.to_pack.push_back(first);
        Ok(())
    }

    /// Reads the segment once: its hash, the times of its lines, and where its tenants stand after it.
    fn summarise(&mut self, first: u64, lines: u64) -> Result<Closed, LogFault> {
        let path = self.layout.segment(first);
        let mut reader = Lines::of_file(&path, false)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        // A tenant's head is its last line: no other has to be hashed.
        let mut last: HashMap<String, (u64, Vec<u8>)> = HashMap::new();
        let mut times: Option<(Timestamp, Timestamp)> = None;
        for number in 1..=lines {
            let foreign = || LogFault::Foreign { path: path.clone(), line: number };
            let line = reader.next_line()?.ok_or_else(foreign)?.bytes();
            hash.update(line);
            hash.update(b"\n");
            bytes += line.len() as u64 + 1;
            let fields = Fields::read(line).ok_or_else(foreign)?;
            let position = fields.position.ok_or_else(foreign)?;
            match last.get_mut(fields.org_id) {
                Some((number, kept)) => {
                    *number = position.tenant_seq;
                    kept.clear();
                    kept.extend_from_slice(line);
                }
                None => drop(last.insert(fields.org_id.to_owned(), (position.tenant_seq, line.to_vec()))),
            }
            let at = fields.timestamp;
            times = Some(times.map_or((at, at), |(oldest, newest)| (oldest.min(at), newest.max(at))));
        }
        let (oldest, newest) = times.ok_or(LogFault::Foreign { path, line: 1 })?;
        let (oldest, newest) = (oldest.to_string(), newest.to_string());
        for (org, (tenant_seq, line)) in last {
            *self.heads.of(&org) = Position { tenant_seq, prev_hash: leaf(&line) };
        }
        let closed = Some(Timestamp::new(OffsetDateTime::now_utc()).to_string());
        Ok(Closed { first, lines, bytes, sha256: hex::encode(hash.finalize()), oldest, newest, closed })
    }
}
