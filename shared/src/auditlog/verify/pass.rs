//! One pass over all indexes in order: the tree grows by the leaves of the tiles, is compared with every signed
//! checkpoint on the way, and confirms the lines that have the same hashes.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::layout::Layout;
use super::super::note::Checkpoint;
use super::super::tile::{FULL, TileFault, Tiles};
use super::super::tree::{Frontier, Hash, Nodes, frontier};
use super::checkpoints::Notes;
use super::clock::Clock;
use super::ids::Ids;
use super::report::Report;
use super::scan::Scanned;
use super::tenants::Tenants;
use super::trust::Trust;
use super::{Fault, Finding, VerifyFault, tile_finding};

/// Contradicting checkpoints that are kept.
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
    tree: Frontier,
    /// The tree of the lines, once they differ from the tiles.
    lines_tree: Option<Frontier>,
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
            tree: Frontier::empty(),
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
        self.push(tile, Some(hash))
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

    /// Compares every checkpoint of this size with the tree, and finds the next size to stop at.
    fn check(&mut self) -> Result<(), VerifyFault> {
        let here = self.position;
        loop {
            if self.next.is_none() {
                self.next = self.pull()?;
            }
            match self.next.take() {
                Some(next) if next.size > here => {
                    self.next = Some(next);
                    break;
                }
                Some(next) if next.size == here => self.compare(next),
                // Out of order, which was said already.
                Some(_) => {}
                None => break,
            }
        }
        if let Some(newest) = self.newest.clone().filter(|newest| newest.size == here && self.confirmed < here) {
            self.compare(newest);
        }
        if let Some(since) = self.since.as_ref().filter(|since| since.size == here) {
            self.since_fits = Some(!self.blind && self.tree.root() == since.root);
        }
        let sizes = [&self.next, &self.newest, &self.since].into_iter().flatten().map(|checkpoint| checkpoint.size);
        self.stop = sizes.filter(|size| *size > here).min().unwrap_or(u64::MAX);
        Ok(())
    }

    /// The next note of the history that is signed as it should be.
    fn pull(&mut self) -> Result<Option<Checkpoint>, VerifyFault> {
        while let Some(note) = self.notes.next()? {
            match self.trust.open(&note, &self.layout.history()) {
                Ok((checkpoint, _)) => {
                    self.in_order(&checkpoint);
                    self.clock.checkpoint(checkpoint.time);
                    self.last = Some(checkpoint.clone());
                    return Ok(Some(checkpoint));
                }
                Err(finding) => self.report.add(*finding),
            }
        }
        Ok(None)
    }

    fn in_order(&mut self, next: &Checkpoint) {
        let Some(last) = &self.last else { return };
        let shrinks = next.size < last.size || next.time < last.time;
        if shrinks || (next.size == last.size && next.root != last.root) {
            let text = format!(
                "the checkpoint of size {} at {} does not follow that of size {} at {}: the history was rewritten",
                next.size, next.time, last.size, last.time
            );
            let finding = Finding::new(Fault::HistoryInconsistent, text).range(next.size, last.size.max(next.size));
            self.report.add(finding.file(&self.layout.history()));
        }
    }

    fn compare(&mut self, signed: Checkpoint) {
        if self.wanted.contains(&signed.root) {
            self.roots.insert(signed.root);
        }
        if !self.blind && self.tree.root() == signed.root {
            self.settle(signed.size);
        } else if !self.blind && self.lines_tree.as_ref().is_some_and(|tree| tree.root() == signed.root) {
            self.lines_are_right(signed.size);
        } else if let Some(tree) = self.upper(&signed) {
            self.narrow(signed.size);
            (self.tree, self.blind) = (tree, false);
            self.settle(signed.size);
        } else if self.contradicted.len() < KEPT {
            self.contradicted.push(signed);
        }
    }

    /// The root fits: what was read up to here is as it seemed.
    fn settle(&mut self, size: u64) {
        let window = std::mem::take(&mut self.window);
        for (from, to) in window.good {
            self.report.entries.verified += to - from;
            self.report.good(from, to);
        }
        self.report.entries.altered += window.altered;
        self.report.entries.missing += window.missing;
        window.findings.into_iter().for_each(|finding| self.report.add(finding));
        self.lines_tree = None;
        self.confirmed = size;
    }

    /// The lines lead to the signed root and the tiles do not.
    fn lines_are_right(&mut self, size: u64) {
        if let Some(tree) = self.lines_tree.take() {
            self.tree = tree;
        }
        let window = &mut self.window;
        let pushed = std::mem::take(&mut window.pushed);
        let of_place = |fault| matches!(fault, Fault::LineAltered | Fault::LineMoved);
        let is_right = |f: &Finding| of_place(f.fault) && f.index.is_some_and(|at| pushed.contains(&at));
        window.findings.retain(|finding| !is_right(finding));
        window.altered = window.altered.saturating_sub(pushed.len() as u64);
        window.good.extend(pushed.iter().map(|at| (*at, at + 1)));
        window.good.sort_unstable();
        let mut tiles: Vec<u64> = pushed.iter().map(|at| at / u64::from(FULL)).collect();
        tiles.sort_unstable();
        tiles.dedup();
        for n in tiles {
            let path = super::super::tile::TileId { level: 0, n, width: FULL }.path();
            let text = "the tile was changed, the lines are right: copy it from a backup";
            self.report
                .add(Finding::new(Fault::TileAltered, text).file(&path).range(n * 256, (n * 256 + 256).min(size)));
        }
        self.settle(size);
    }

    /// The tree as the tiles above the leaves have it, when that leads to the signed root.
    fn upper(&mut self, signed: &Checkpoint) -> Option<Frontier> {
        let tree = frontier(&mut self.tiles, signed.size).ok()?;
        (tree.root() == signed.root).then_some(tree)
    }

    /// Which leaves are not those that the tiles above them are made of.
    fn narrow(&mut self, size: u64) {
        let width = u64::from(FULL);
        let mut bad = Vec::new();
        for n in self.confirmed / width..size.div_ceil(width) {
            let (from, to) = ((n * width).max(self.confirmed), (n * width + width).min(size));
            let above = (n * width + width <= self.covered).then(|| self.tiles.tile(1, n / width));
            let above = above.and_then(Result::ok).and_then(|tile| tile.get((n % width) as usize).copied());
            let below: Result<Hash, TileFault> = self.tiles.hash(8, n);
            let computed = self.tiles.tile(0, n).ok().map(|tile| {
                let mut tree = Frontier::empty();
                tile.iter().for_each(|leaf| tree.push(*leaf));
                tree.root()
            });
            if below.is_ok() && above != computed {
                bad.push((from, to, above, computed));
            }
        }
        if bad.is_empty() && !self.blind {
            bad.push((self.confirmed, size, None, None));
        }
        let good = std::mem::take(&mut self.window.good);
        let touches = |from: u64, to: u64| bad.iter().any(|(bad_from, bad_to, ..)| from < *bad_to && *bad_from < to);
        for (from, to) in good {
            // Cut at the tiles' ends, since only whole tiles are told apart.
            let mut at = from;
            while at < to {
                let end = ((at / width + 1) * width).min(to);
                if !touches(at, end) {
                    self.window.good.push((at, end));
                }
                at = end;
            }
        }
        for (from, to, expected, found) in bad {
            self.report.entries.altered += to - from;
            let text = "lines and tile were changed together; restore both from a copy";
            self.report.add(Finding::new(Fault::RangeAltered, text).range(from, to).hashes(expected, found));
            self.damaged = self.damaged.max(to);
        }
    }

    /// The end: what the last roots say about everything before.
    pub(super) fn finish(mut self, pruned: &[(u64, u64)]) -> Result<Report, VerifyFault> {
        let mut ahead = self.next.take();
        while let Some(next) = ahead {
            if next.size > self.covered {
                let text =
                    format!("the history goes to size {} and the newest checkpoint to {}", next.size, self.covered);
                self.report.add(Finding::new(Fault::HistoryInconsistent, text).file(&self.layout.history()));
            }
            ahead = self.pull()?;
        }
        self.judge();
        self.predecessors(pruned);
        let (duplicates, count) = std::mem::replace(&mut self.ids, Ids::new()).duplicates(KEPT).map_err(spilling)?;
        self.report.entries.duplicates = count;
        for (id, index) in duplicates {
            let text = format!("event {} has a line before this one", uuid::Uuid::from_u128(id));
            self.report.add(Finding::new(Fault::DuplicateId, text).range(index, index + 1));
        }
        for root in self.wanted.difference(&self.roots) {
            let text = format!("a retention record names the root {root}, which no checkpoint before it has");
            self.report.add(Finding::new(Fault::RetentionFalse, text).file(&self.layout.retention()));
        }
        self.report.sequences = self.tenants.count();
        self.report.times = self.clock.range();
        self.report.back_micros = self.clock.back().as_micros();
        self.report.silences = self.clock.silences();
        Ok(self.report)
    }

    fn judge(&mut self) {
        let window = std::mem::take(&mut self.window);
        window.findings.into_iter().for_each(|finding| self.report.add(finding));
        self.report.entries.missing += window.missing;
        if self.confirmed == self.covered {
            self.report.entries.altered += window.altered;
            for signed in std::mem::take(&mut self.contradicted) {
                let text = format!(
                    "the checkpoint of size {} is signed and is not the beginning of this log: two histories",
                    signed.size
                );
                let found = Finding::new(Fault::HistoryInconsistent, text).range(signed.size, signed.size);
                self.report.add(found.hashes(Some(signed.root), None).file(&self.layout.history()));
            }
        } else {
            let tree = (!self.blind && self.position == self.covered).then(|| self.tree.root());
            let expected = self.newest.as_ref().map(|newest| newest.root);
            let first = self.contradicted.first().map_or(self.covered, |signed| signed.size);
            if tree.is_some() || !self.contradicted.is_empty() {
                let text = format!("lines and tiles do not lead to the signed root; the first change is below {first}");
                let from = self.confirmed;
                self.report.entries.altered += first.saturating_sub(from);
                self.report.add(Finding::new(Fault::RangeAltered, text).range(from, first).hashes(expected, tree));
            }
        }
        if let Some(since) = self.since.take() {
            self.judge_since(&since);
        }
    }

    fn judge_since(&mut self, since: &Checkpoint) {
        self.report.since = super::Against::Contradicted(since.size);
        if since.size > self.covered {
            let text = format!(
                "a signed checkpoint from outside covers {} lines and this log {}: log and checkpoint were rolled back",
                since.size, self.covered
            );
            self.report.add(Finding::new(Fault::RolledBack, text).range(self.covered, since.size));
        } else if self.since_fits == Some(true) {
            self.report.since = super::Against::Consistent(since.size);
        } else {
            let text = format!(
                "this log does not go on from the given checkpoint of size {}: it is another history",
                since.size
            );
            self.report.add(Finding::new(Fault::Forked, text).range(0, since.size).hashes(Some(since.root), None));
        }
    }

    /// Every dropped predecessor that a line names has to stand in a dropped range.
    fn predecessors(&mut self, pruned: &[(u64, u64)]) {
        let mut wanted = self.tenants.dropped();
        for (from, to) in pruned {
            for index in *from..*to {
                if wanted.is_empty() {
                    return;
                }
                if let Some(leaf) = self.leaf(index) {
                    wanted.remove(&leaf);
                }
            }
        }
        for hash in wanted {
            let Some(index) = self.tenants.named_by(&hash) else { continue };
            let text = "it names a line before it that was never in the dropped range";
            let finding = Finding::new(Fault::PreviousHashWrong, text).range(index, index + 1);
            self.report.add(finding.hashes(Some(hash), None));
        }
    }
}

fn spilling(source: std::io::Error) -> VerifyFault {
    VerifyFault::Io { path: std::env::temp_dir(), source }
}
