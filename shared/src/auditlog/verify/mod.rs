//! Verification of a log's files or of an export, offline: what is altered, missing, forged or inconsistent, and where.
//!
//! The tree's leaves are read from the tiles, and the signed checkpoints say whether those are authentic; each line is
//! compared with its leaf. So one changed line is one finding, and everything after it is still confirmed.

mod bundle;
mod checkpoints;
mod clock;
mod diff;
mod fault;
mod growth;
mod ids;
mod log;
mod pass;
mod report;
mod retained;
mod scan;
mod segment;
mod tenants;
#[cfg(test)]
mod tests;
mod trust;

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::segments::SegmentFault;
use super::tile::TileFault;

pub use fault::{Fault, Finding};
pub use report::{Against, Counts, Report};
pub use trust::Policy;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFault {
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Reading a segment failed.
    #[error(transparent)]
    Segment(#[from] SegmentFault),
    /// The policy is not one.
    #[error("the policy's line {line} is wrong: {what}")]
    Policy {
        /// From 1.
        line: usize,
        /// In what way.
        what: String,
    },
    /// The list of keys is not one.
    #[error("{} is no list of keys that a log could have ({what}): copy it from a backup", path.display())]
    Keys {
        /// Which file.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// Neither a log nor an export.
    #[error("{} is no audit log and no export of one: it has neither seg/ nor lines.jsonl", .0.display())]
    Foreign(PathBuf),
    /// The checkpoint to compare with is not one of this log.
    #[error("the checkpoint to compare with cannot be used: {0}")]
    Since(String),
}

/// What to verify beside the files themselves.
#[derive(Debug, Default)]
pub struct Options {
    /// Whose signatures count.
    pub policy: Policy,
    /// A checkpoint that was kept outside: its note.
    pub since: Option<String>,
}

/// Verifies what is in a folder: a log, one tenant's export, or the proof of one event. `progress` is told how many of
/// how many bytes are behind.
///
/// # Errors
/// [`VerifyFault`], when it cannot be told whether the log is sound.
pub fn verify(path: &Path, options: &Options, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyFault> {
    let layout = Layout::new(path);
    if layout.segments_dir().is_dir() {
        log::verify(&layout, options, progress)
    } else if layout.export_lines().is_file() {
        bundle::verify(&layout, options, progress)
    } else {
        Err(VerifyFault::Foreign(path.to_owned()))
    }
}

/// A fault of the tree's reader as a finding.
fn tile_finding(fault: &TileFault) -> Finding {
    Finding::new(Fault::TileMissing, fault.to_string())
}
