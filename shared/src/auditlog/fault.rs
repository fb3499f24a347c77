//! What can go wrong with the files, in words that say what to do next.

use std::path::{Path, PathBuf};

use super::segments::SegmentFault;
use crate::contract::Timestamp;

/// What can go wrong with the files. Nothing is ever overwritten because of one.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// Another writer holds the log.
    #[error("another process writes the audit log in {}", .0.display())]
    Locked(PathBuf),
    /// Reading or writing failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Lines are durable, but neither tiles nor checkpoints can be written: no more are taken until they can.
    #[error(
        "{lines} lines are under no signed checkpoint, because the disk refuses tiles or checkpoints: make room below \
         compliance.audit_log_path; until then no line is appended"
    )]
    Uncovered {
        /// How many.
        lines: u64,
    },
    /// The thread that held the log died; a new start recovers it.
    #[error("the writer of the audit log died; start the process again")]
    Died,
    /// A line that this log never wrote.
    #[error("{} line {line} is no line of this log; move the file aside and restore it from a copy", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// A log without positions, from a version before the tree.
    #[error(
        "{} has lines without tenant_seq and prev_hash, from an older version: keep that folder as it is and name a \
        new, empty one as compliance.audit_log_path", .0.display()
    )]
    OlderFormat(PathBuf),
    /// A line that the tree or the tenant's previous line contradicts.
    #[error(
        "{} line {line} was changed after it was written: {what}; run `millrace audit verify` on the folder, keep it \
        as evidence, and restore the file from a copy", path.display()
    )]
    Altered {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What contradicts it.
        what: &'static str,
    },
    /// Lines that a checkpoint covers are gone.
    #[error(
        "the log has {lines} lines, but its newest checkpoint covers {covered}: lines are missing at its end; restore \
        the newest file of {} from a copy", folder.display()
    )]
    Short {
        /// Folder of the segments.
        folder: PathBuf,
        /// How many are there.
        lines: u64,
        /// How many there were.
        covered: u64,
    },
    /// A whole segment is gone.
    #[error("{} is missing and was not dropped by retention; restore it from a copy", .0.display())]
    MissingSegment(PathBuf),
    /// A file beside the lines is missing or is not what the writer left.
    #[error("{} {problem}; restore it from a copy, together with the files beside it", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// In what way.
        problem: &'static str,
    },
    /// The newest checkpoint was signed by a key that this log does not know.
    #[error(
        "{} does not open with any key of vkeys.json: {problem}; restore both from a copy", path.display()
    )]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The key that is configured has signed before and was replaced.
    #[error(
        "compliance.audit_log_key is {0}, which was replaced before: a key does not come back, since whoever stole it \
         could bring it back; make a new one with `millrace audit keygen`"
    )]
    KeyReturned(String),
    /// The clock is behind the newest checkpoint.
    #[error(
        "the clock says {now}, but the newest checkpoint is of {newest}: set the clock right, then start the process \
        again; if it is right now and was ahead before, nothing is written until {newest}, or keep this log and begin \
        one in another folder"
    )]
    Clock {
        /// This machine's time.
        now: Timestamp,
        /// The checkpoint's.
        newest: Timestamp,
    },
}

impl From<SegmentFault> for LogFault {
    fn from(fault: SegmentFault) -> Self {
        match fault {
            SegmentFault::Io { path, source } => Self::Io { doing: "read", path, source },
            SegmentFault::TooLong { path, line } => Self::Foreign { path, line },
            SegmentFault::Foreign(path) => Self::Damaged { path, problem: "is no segment of an audit log" },
            SegmentFault::Ledger { path, .. } => Self::Damaged { path, problem: "is not the list of closed segments" },
        }
    }
}

pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogFault {
    let path = path.to_owned();
    move |source| LogFault::Io { doing, path, source }
}
