//! One pass over all indexes in order: the tree grows by the leaves of the tiles, is compared with every signed
//! checkpoint on the way, and confirms the lines that have the same hashes.

mod compare;
mod judge;

use std::collections::HashSet;
use std::sync::Arc;

use super::super::layout::Layout;
use super::super::note::Checkpoint;
use super::super::tile::{FULL, Tiles};
use super::super::tree::Hash;
use super::checkpoints::Notes;
use super::clock::Clock;
use super::growth::Growth;
use super::ids::Ids;
use super::report::Report;
use super::scan::Scanned;
use super::tenants::Tenants;
use super::trust::Trust;
use super::{Fault, Finding, VerifyFault, tile_finding};

/// Contradicting checkpoints, and duplicate ids, that are kept.
const KEPT: usize = 100;
const ERASED: &[u8] = b"erasure.executed";

/// What was read since the last root that fits: believed when the next one does.
#[derive(Debug, Default)]
struct Window {
    good: Vec<(u64, u64)>,
    altered: u64,
    missing: u64,
    findings: Vec<Finding>,
    /// Indexes where the line went into the tree of the lines in the place of another leaf.
    pushed: HashSet<u64>,
}

pub(super) struct Pass<'a> {
    layout: &'a Layout,
    trust: &'a Trust,
    tiles: Tiles,
    tile: Option<(u64, Arc<Vec<Hash>>)>,
    /// Size of the newest checkpoint.
    pub(super) covered: u64,
    /// The next index.
    position: u64,
    tree: Growth,
    /// The tree of the lines, once they differ from the tiles.
    lines_tree: Option<Growth>,
    /// Neither line nor tile told a leaf, so the tree is unknown until tiles of a higher level tell it.
    blind: bool,
    confirmed: u64,
    window: Window,
    notes: Notes,
    next: Option<Checkpoint>,
    last: Option<Checkpoint>,
    newest: Option<Checkpoint>,
    since: Option<Checkpoint>,
    since_fits: Option<bool>,
    contradicted: Vec<Checkpoint>,
    roots: HashSet<Hash>,
    wanted: HashSet<Hash>,
    stop: u64,
    /// End of the last range with missing or altered lines.
    damaged: u64,
    pruned_before: bool,
    tenants: Tenants,
    ids: Ids,
    pub(super) clock: Clock,
    pub(super) report: Report,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        trust: &'a Trust,
        newest: Option<Checkpoint>,
        since: Option<Checkpoint>,
        wanted: HashSet<Hash>,
        report: Report,
    ) -> Result<Self, VerifyFault> {
        let covered = newest.as_ref().map_or(0, |newest| newest.size);
        let mut pass = Self {
            layout,
            trust,
            tiles: Tiles::new(layout.clone(), covered),
            tile: None,
            covered,
            position: 0,
            tree: Growth::default(),
            lines_tree: None,
            blind: false,
            confirmed: 0,
            window: Window::default(),
            notes: Notes::open(layout)?.up_to(report.checkpoints),
            next: None,
            last: None,
            newest,
            since,
            since_fits: None,
            contradicted: Vec::new(),
            roots: HashSet::new(),
            wanted,
            stop: 0,
            damaged: 0,
            pruned_before: false,
            tenants: Tenants::default(),
            ids: Ids::new(),
            clock: Clock::default(),
            report,
        };
        pass.check()?;
        Ok(pass)
    }

    /// The next index to be told about.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// From now on tenants may begin later than with number 1.
    pub(super) fn was_pruned(&mut self) {
        self.pruned_before = true;
    }

    /// The leaf that the tiles have at an index; a missing tile is reported once.
    pub(super) fn leaf(&mut self, index: u64) -> Option<Hash> {
        let n = index / u64::from(FULL);
        if self.tile.as_ref().is_none_or(|(had, _)| *had != n) {
            let tile = self.tiles.tile(0, n).unwrap_or_else(|fault| {
                self.report.add(tile_finding(&fault).range(n * u64::from(FULL), (n + 1) * u64::from(FULL)));
                Arc::default()
            });
            self.tile = Some((n, tile));
        }
        self.tile.as_ref().and_then(|(_, tile)| tile.get((index % u64::from(FULL)) as usize).copied())
    }

    /// The next leaf: as the tiles have it, and as the line at this place has it.
    pub(super) fn push(&mut self, tile: Option<Hash>, line: Option<Hash>) -> Result<(), VerifyFault> {
        self.position += 1;
        let Some(leaf) = tile.or(line) else {
            self.blind = true;
            self.lines_tree = None;
            return self.at_stop();
        };
        if !self.blind {
            let line = line.unwrap_or(leaf);
            if line != leaf {
                self.window.pushed.insert(self.position - 1);
                self.lines_tree.get_or_insert_with(|| self.tree.clone());
            }
            if let Some(tree) = &mut self.lines_tree {
                tree.push(line);
            }
            self.tree.push(leaf);
        }
        self.at_stop()
    }

    fn at_stop(&mut self) -> Result<(), VerifyFault> {
        if self.position == self.stop { self.check() } else { Ok(()) }
    }

    /// A line whose hash is that of the tree, at the next place.
    pub(super) fn take(
        &mut self,
        line: &[u8],
        hash: Hash,
        tile: Option<Hash>,
        place: (&std::path::Path, u64),
    ) -> Result<(), VerifyFault> {
        let index = self.position;
        self.read(line, index, hash, place)?;
        match self.window.good.last_mut() {
            Some(last) if last.1 == index => last.1 += 1,
            _ => self.window.good.push((index, index + 1)),
        }
        if self.blind || self.lines_tree.is_some() {
            return self.push(tile, Some(hash));
        }
        // The usual case, in which no hash is compared once more.
        self.position += 1;
        self.tree.push(hash);
        self.at_stop()
    }

    /// A line behind the newest checkpoint: its form and its tenant's sequence can be looked at, but nothing was signed.
    pub(super) fn uncovered(
        &mut self,
        line: &[u8],
        index: u64,
        hash: Hash,
        place: (&std::path::Path, u64),
    ) -> Result<(), VerifyFault> {
        self.report.entries.uncovered += 1;
        self.read(line, index, hash, place)
    }

    fn read(
        &mut self,
        line: &[u8],
        index: u64,
        hash: Hash,
        (path, number): (&std::path::Path, u64),
    ) -> Result<(), VerifyFault> {
        let Some(scanned) = Scanned::read(line) else {
            let finding =
                Finding::new(Fault::LineForeign, "no line of an audit log: whatever wrote the log wrote this, too");
            self.report.add(finding.range(index, index + 1).file(path).line(number));
            return Ok(());
        };
        self.clock.line(scanned.timestamp);
        self.report.erasures += u64::from(scanned.action == ERASED);
        self.ids.add(scanned.event_id, index).map_err(spilling)?;
        let followed = self.tenants.follow(&scanned, index, &hash, self.pruned_before, self.damaged);
        if let Err((fault, text)) = followed {
            self.report.add(Finding::new(fault, text).range(index, index + 1).file(path).line(number));
        }
        Ok(())
    }

    /// Something is wrong with lines that the tree has; believed when the next root fits.
    pub(super) fn suspect(&mut self, finding: Finding) {
        let lines = finding.index.zip(finding.to).map_or(0, |(from, to)| to - from);
        match finding.fault {
            Fault::LineAltered | Fault::LineInserted | Fault::LineMoved => self.window.altered += 1,
            _ => self.window.missing += lines,
        }
        self.damaged = self.damaged.max(finding.to.unwrap_or(0));
        self.window.findings.push(finding);
    }

    /// Lines that are gone, with or without leave.
    pub(super) fn skip(&mut self, to: u64) -> Result<(), VerifyFault> {
        for index in self.position..to {
            let leaf = self.leaf(index);
            self.push(leaf, None)?;
        }
        Ok(())
    }
}

fn spilling(source: std::io::Error) -> VerifyFault {
    VerifyFault::Io { path: std::env::temp_dir(), source }
}
