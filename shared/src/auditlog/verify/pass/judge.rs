//! What the pass has found, once it is at its end.

use super::super::super::note::Checkpoint;
use super::super::ids::Ids;
use super::super::report::{Against, Report};
use super::super::{Fault, Finding, VerifyFault};
use super::{KEPT, Pass, spilling};

impl Pass<'_> {
    /// The end: what the last roots say about everything before.
    pub(in super::super) fn finish(mut self, pruned: &[(u64, u64)]) -> Result<Report, VerifyFault> {
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
        self.report.since = Against::Contradicted(since.size);
        if since.size > self.covered {
            let text = format!(
                "a signed checkpoint from outside covers {} lines and this log {}: log and checkpoint were rolled back",
                since.size, self.covered
            );
            self.report.add(Finding::new(Fault::RolledBack, text).range(self.covered, since.size));
        } else if self.since_fits == Some(true) {
            self.report.since = Against::Consistent(since.size);
        } else {
            let text = format!(
                "this log does not go on from the given checkpoint of size {}: it is another history",
                since.size
            );
            self.report.add(Finding::new(Fault::Forked, text).range(0, since.size).hashes(Some(since.root), None));
        }
    }

    /// Every predecessor that a line names and nobody has seen has to stand in a dropped range, or where lines are missing,
    /// which was told already.
    fn predecessors(&mut self, pruned: &[(u64, u64)]) {
        let mut wanted = self.tenants.dropped();
        let missing = (self.damaged > 0).then_some((0, self.damaged));
        for (from, to) in pruned.iter().copied().chain(missing) {
            for index in from..to {
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
