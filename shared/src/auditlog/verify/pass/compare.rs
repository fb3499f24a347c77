//! Signed checkpoints against the tree, as the pass comes to their sizes.

use super::super::super::note::Checkpoint;
use super::super::super::tile::{FULL, TileFault, TileId};
use super::super::super::tree::{Frontier, Hash, Nodes, frontier};
use super::super::{Fault, Finding, VerifyFault};
use super::{KEPT, Pass};

impl Pass<'_> {
    /// Compares every checkpoint of this size with the tree, and finds the next size to stop at.
    pub(super) fn check(&mut self) -> Result<(), VerifyFault> {
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
            let root = since.root;
            self.since_fits = Some(!self.blind && self.tree.root() == root);
        }
        let sizes = [&self.next, &self.newest, &self.since].into_iter().flatten().map(|checkpoint| checkpoint.size);
        self.stop = sizes.filter(|size| *size > here).min().unwrap_or(u64::MAX);
        Ok(())
    }

    /// The next note of the history that is signed as it should be.
    pub(super) fn pull(&mut self) -> Result<Option<Checkpoint>, VerifyFault> {
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
        // Whoever once signed the table of keys goes on to do so.
        let strips = last.keys.is_some() && next.keys.is_none();
        if shrinks || strips || (next.size == last.size && next.root != last.root) {
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
        } else if !self.blind && self.lines_tree.as_mut().is_some_and(|tree| tree.root() == signed.root) {
            self.lines_are_right(signed.size);
        } else if let Some(tree) = self.upper(&signed) {
            self.narrow(signed.size);
            (self.tree, self.blind) = (tree.into(), false);
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
            let path = TileId { level: 0, n, width: FULL }.path();
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
                tree.extend(&tile);
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
}
