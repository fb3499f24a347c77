//! Reading lines again at start: each must be one of this log, follow its tenant's last one, and be what the tree says.

use std::path::Path;

use super::entry::Act;
use super::fault::LogFault;
use super::growing::read_tile;
use super::heads::Heads;
use super::known::Known;
use super::layout::Layout;
use super::line::{Fields, Position};
use super::stager::{Span, lines_of};
use super::tile::TileId;
use super::tree::{Hash, leaf};

/// What to do with a last line that has no line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// Leave it out: an append was broken off.
    Cut,
    /// The segment was whole once.
    Refused,
}

/// The state that grows with the lines.
pub(super) struct Replay {
    layout: Layout,
    heads: Heads,
    known: Known,
    /// Lines that the newest checkpoint covers.
    sealed: u64,
    /// The tile of leaves that was read last.
    tile: Option<(u64, Vec<Hash>)>,
    leaves: Vec<Hash>,
    acts: Vec<(u64, Vec<u8>)>,
}

impl Replay {
    pub(super) fn new(layout: Layout, heads: Heads, known: Known, sealed: u64) -> Self {
        Self { layout, heads, known, sealed, tile: None, leaves: Vec::new(), acts: Vec::new() }
    }

    /// Reads a segment's whole lines.
    pub(super) fn segment(&mut self, first: u64, torn: Torn) -> Result<Span, LogFault> {
        let path = self.layout.segment(first);
        let mut lines = lines_of(&self.layout, first)?.ok_or_else(|| LogFault::MissingSegment(path.clone()))?;
        let mut span = Span::new(first);
        while let Some(line) = lines.next_line()? {
            let (line, number) = (line.bytes(), line.number);
            let fields = Fields::read(line).ok_or_else(|| LogFault::Foreign { path: path.clone(), line: number })?;
            let position = fields.position.ok_or_else(|| LogFault::OlderFormat(path.clone()))?;
            let (index, hash) = (first + span.lines, leaf(line));
            self.follows(&fields, position, hash).map_err(|what| altered(&path, number, what))?;
            self.stands(index, hash, &path, number)?;
            if Act::of(&fields).is_some() {
                self.acts.push((index, line.to_vec()));
            }
            self.known.insert(fields.event_id);
            span.add(fields.timestamp, line.len() as u64 + 1);
        }
        let cut = torn == Torn::Cut && first + span.lines >= self.sealed;
        if lines.torn() > 0 && !cut { Err(LogFault::Foreign { path, line: span.lines + 1 }) } else { Ok(span) }
    }

    /// The tenants' heads after what was read so far.
    pub(super) fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Everything that was gathered.
    #[expect(clippy::type_complexity, reason = "taken apart at once")]
    pub(super) fn done(self) -> (Heads, Known, Vec<Hash>, Vec<(u64, Vec<u8>)>) {
        (self.heads, self.known, self.leaves, self.acts)
    }

    fn follows(&mut self, fields: &Fields<'_>, position: Position, hash: Hash) -> Result<(), &'static str> {
        let head = self.heads.of(fields.org_id);
        if position.tenant_seq != head.tenant_seq + 1 {
            return Err("its tenant_seq does not follow that of its tenant's line before");
        }
        if position.prev_hash != head.prev_hash {
            return Err("its prev_hash is not the hash of its tenant's line before");
        }
        *head = Position { tenant_seq: position.tenant_seq, prev_hash: hash };
        Ok(())
    }

    /// What a checkpoint covers is compared with the tree; what none covers yet will grow it.
    fn stands(&mut self, index: u64, hash: Hash, path: &Path, number: u64) -> Result<(), LogFault> {
        if index >= self.sealed {
            self.leaves.push(hash);
            return Ok(());
        }
        let n = index / 256;
        let hashes = match self.tile.take().filter(|(read, _)| *read == n) {
            Some((_, hashes)) => hashes,
            None => {
                let width = if self.sealed / 256 > n { 256 } else { (self.sealed % 256) as u16 };
                read_tile(&self.layout.tile(&TileId { level: 0, n, width }), usize::from(width))?
            }
        };
        let same = hashes.get((index % 256) as usize) == Some(&hash);
        self.tile = Some((n, hashes));
        if same { Ok(()) } else { Err(altered(path, number, "the tree has another hash for it")) }
    }
}

fn altered(path: &Path, line: u64, what: &'static str) -> LogFault {
    LogFault::Altered { path: path.to_owned(), line, what }
}
