//! What a proof found: evidence for people, programs and auditors.

use std::collections::BTreeMap;

use millrace::contract::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// One rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failure {
    /// The table, function, schema or role.
    pub place: String,
    /// The rule, probe or mutant.
    pub what: String,
    /// What was found instead.
    pub found: String,
}

impl Failure {
    pub(super) fn new(place: &str, what: &str, found: &str) -> Self {
        Self { place: place.to_owned(), what: what.to_owned(), found: found.to_owned() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if self.found.is_empty() { Ok(()) } else { write!(f, " ({})", self.found) }
    }
}

/// Something outside of the rules that has a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The table or function.
    pub place: String,
    /// Why it may.
    pub reason: String,
}

impl Exception {
    pub(super) fn new(place: &str, reason: &str) -> Self {
        Self { place: place.to_owned(), reason: reason.to_owned() }
    }
}

/// The result of `millrace prove`.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// Name of the database.
    pub database: String,
    /// When it was begun, RFC 3339.
    pub begun_at: String,
    /// Of the prover.
    pub version: String,
    /// Tenant tables, each of them checked and probed.
    pub tables: Vec<String>,
    /// Statements tried.
    pub probes: u64,
    /// By table, the defects that were made on the clone and seen, each with what saw it.
    pub mutants_killed: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// What stands outside of the rules, with its reason.
    pub exceptions: Vec<Exception>,
    /// Everything red; empty for a proof that holds.
    pub failures: Vec<Failure>,
    /// No clone was made: no mutant ran, so nothing shows that a probe can turn red.
    pub live_only: bool,
}

impl Proof {
    pub(super) fn new(database: &str, live_only: bool) -> Self {
        Self {
            database: database.to_owned(),
            begun_at: Timestamp::new(OffsetDateTime::now_utc()).to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tables: Vec::new(),
            probes: 0,
            mutants_killed: BTreeMap::new(),
            exceptions: Vec::new(),
            failures: Vec::new(),
            live_only,
        }
    }

    /// Does isolation hold?
    pub fn is_green(&self) -> bool {
        self.failures.is_empty()
    }

    /// How many defects were made and seen.
    pub fn killed(&self) -> usize {
        self.mutants_killed.values().map(BTreeMap::len).sum()
    }

    /// One line of JSON, the form that is hashed.
    ///
    /// # Errors
    /// Never, for what a proof holds.
    pub fn evidence(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// SHA-256 of the evidence, as the audit log has it.
pub(super) fn digest(evidence: &str) -> String {
    hex::encode(Sha256::digest(evidence))
}
