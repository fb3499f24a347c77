//! Retention records: which ranges were dropped by an operator's line that the tree has.

use serde::Deserialize;

use super::super::entry::RETENTION_PRUNED;
use super::super::layout::Layout;
use super::super::line::Fields;
use super::super::retention::PruneRecord;
use super::super::segments::Closed;
use super::super::tree::{Hash, leaf};
use super::{Fault, Finding, VerifyFault};
use crate::contract::TenantId;

/// One line of `retention.jsonl`.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) line: String,
}

impl Kept {
    /// What the line says, when an operator of the deployment said it.
    pub(super) fn record(&self) -> Option<PruneRecord> {
        let fields = Fields::read(self.line.as_bytes())?;
        let ours = fields.org_id == TenantId::OPERATOR && fields.action == RETENTION_PRUNED;
        serde_json::from_str(fields.metadata).ok().filter(|_| ours)
    }
}

/// Reads the kept lines. What a crash cut off at the end is left out.
pub(super) fn kept(layout: &Layout) -> Result<Vec<Option<Kept>>, VerifyFault> {
    let path = layout.retention();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(VerifyFault::Io { path, source }),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let lines = bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| serde_json::from_slice(line).ok()).collect())
}

/// What the records allow to be gone.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Ranges, rising and not overlapping.
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) records: u64,
    /// Roots that records name, with the index of each record's line.
    pub(super) roots: Vec<(Hash, u64)>,
}

impl Retained {
    /// The first index from `at` on that was not dropped.
    pub(super) fn end_of(&self, at: u64) -> u64 {
        self.ranges.iter().find(|(from, to)| (*from..*to).contains(&at)).map_or(at, |(_, to)| *to)
    }

    /// The first index from `at` on that was dropped, `end` at most.
    pub(super) fn next(&self, at: u64, end: u64) -> u64 {
        self.ranges.iter().map(|(from, _)| *from).find(|from| *from >= at).unwrap_or(end).min(end)
    }

    pub(super) fn any_before(&self, index: u64) -> bool {
        self.ranges.iter().any(|(from, _)| *from < index)
    }
}

/// Takes the records whose lines the tree has below `covered`; the tree itself is verified later.
pub(super) fn read(
    layout: &Layout,
    ledger: &[Closed],
    covered: u64,
    mut in_tree: impl FnMut(u64) -> Option<Hash>,
    findings: &mut Vec<Finding>,
) -> Result<Retained, VerifyFault> {
    let mut retained = Retained::default();
    for (at, kept) in kept(layout)?.into_iter().enumerate() {
        let mut wrong = |text: String| {
            findings.push(Finding::new(Fault::RetentionFalse, text).file(&layout.retention()).line(at as u64 + 1));
        };
        let Some((kept, record)) = kept.and_then(|kept| kept.record().map(|record| (kept, record))) else {
            wrong("this is no retention record: restore the file from a copy".to_owned());
            continue;
        };
        let there = in_tree(kept.index).filter(|_| kept.index < covered);
        let found = leaf(kept.line.as_bytes());
        if there != Some(found) {
            let text = format!("no signed line {} says so: somebody dropped lines without leave", kept.index);
            let finding = Finding::new(Fault::RetentionFalse, text).file(&layout.retention()).line(at as u64 + 1);
            findings.push(finding.hashes(there, Some(found)));
            continue;
        }
        let gone = ledger.iter().filter(|closed| (record.from..record.to).contains(&closed.first));
        let hashes: Vec<&String> = gone.map(|closed| &closed.sha256).collect();
        if !hashes.is_empty() && hashes != record.segment_sha256.iter().collect::<Vec<_>>() {
            wrong(format!("the record of line {} names other segments than segments.jsonl", kept.index));
        }
        if let Ok(root) = record.root_before.parse() {
            retained.roots.push((root, kept.index));
        }
        retained.records += 1;
        retained.ranges.push((record.from, record.to));
    }
    retained.ranges.sort_unstable();
    Ok(retained)
}
