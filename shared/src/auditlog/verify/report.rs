//! What a verification says.

use serde::Serialize;

use super::fault::{Fault, Finding};

/// Findings that are kept; the rest is counted.
const KEPT: usize = 100;

/// How many lines are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Confirmed by the tree.
    pub verified: u64,
    /// Dropped by a signed retention record.
    pub pruned: u64,
    /// Gone without one.
    pub missing: u64,
    /// Not what the tree says, at its place or at another.
    pub altered: u64,
    /// Lines whose event id came before.
    pub duplicates: u64,
    /// Behind the newest checkpoint: no signature covers them yet.
    pub uncovered: u64,
}

/// What came of a checkpoint that was kept outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// None was given: a rollback of log and checkpoint together cannot be seen.
    Nothing,
    /// The log goes on from it.
    Consistent(u64),
    /// It does not.
    Contradicted(u64),
    /// The export has no proof for that size.
    Unproved(u64),
}

/// The result of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `log`, `tenant` or `event`.
    pub kind: &'static str,
    /// Name of the log.
    pub origin: Option<String>,
    /// The tenant of an export.
    pub org_id: Option<String>,
    /// Id of the key that signed the newest checkpoint, in hex.
    pub key: Option<String>,
    /// Were the keys given from outside?
    pub keys_from_policy: bool,
    /// Size of the tree that the newest checkpoint signs.
    pub size: Option<u64>,
    /// Its root, in hex.
    pub root: Option<String>,
    /// When it was signed.
    pub signed_at: Option<String>,
    /// Oldest and newest timestamp of a line.
    pub times: Option<(String, String)>,
    /// Lines.
    pub entries: Counts,
    /// Signed retention records.
    pub retention_records: u64,
    /// Tenants' sequences; of an export the tenant's first and last number.
    pub sequences: u64,
    /// First and last number of an export.
    pub numbers: Option<(u64, u64)>,
    /// The farthest that a timestamp steps back, in microseconds.
    pub back_micros: u128,
    /// Times between two checkpoints longer than the heartbeat.
    pub silences: u64,
    /// Lines that record an erasure.
    pub erasures: u64,
    /// Checkpoints in the history.
    pub checkpoints: u64,
    /// The comparison with a checkpoint from outside.
    pub since: Against,
    /// About witnesses.
    pub witness: String,
    /// Bytes behind the last line, which a crash cut off.
    pub torn_bytes: u64,
    /// Ranges of lines that are confirmed, when others are not.
    pub good: Vec<(u64, u64)>,
    /// What is wrong, at most a hundred of each verification.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub found: u64,
    /// The gravest fault's exit code, 0 when there is none.
    pub exit: u8,
}

impl Report {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            origin: None,
            org_id: None,
            key: None,
            keys_from_policy: false,
            size: None,
            root: None,
            signed_at: None,
            times: None,
            entries: Counts::default(),
            retention_records: 0,
            sequences: 0,
            numbers: None,
            back_micros: 0,
            silences: 0,
            erasures: 0,
            checkpoints: 0,
            since: Against::Nothing,
            witness: String::new(),
            torn_bytes: 0,
            good: Vec::new(),
            findings: Vec::new(),
            found: 0,
            exit: 0,
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.found += 1;
        let code = finding.fault.exit();
        if self.exit == 0 || rank(code) < rank(self.exit) {
            self.exit = code;
        }
        // The first of a class is kept even when another class fills the list.
        if self.findings.len() < KEPT || self.findings.iter().all(|had| had.fault != finding.fault) {
            self.findings.push(finding);
        }
    }

    /// The first finding of the class that decides the exit code; what only follows from an altered range comes after it.
    pub fn fault(&self) -> Option<Fault> {
        let follows = |fault: &Fault| {
            matches!(fault, Fault::LineForeign | Fault::SequenceBroken | Fault::PreviousHashWrong | Fault::DuplicateId)
        };
        let class = self.findings.iter().map(|finding| finding.fault).filter(|fault| fault.exit() == self.exit);
        class.min_by_key(follows)
    }

    pub(super) fn good(&mut self, from: u64, to: u64) {
        match self.good.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ if from < to => self.good.push((from, to)),
            _ => {}
        }
    }
}

/// Without a signature nothing else can be believed; what was changed weighs more than what is gone.
fn rank(exit: u8) -> u8 {
    match exit {
        3 => 0,
        1 => 1,
        2 => 2,
        other => other,
    }
}
