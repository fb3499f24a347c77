//! The audit log's lines, read from its files for reports. Only what a report needs of a line is kept.

use std::path::Path;

use millrace::auditlog::layout::Layout;
use millrace::auditlog::segments::{Lines, SegmentFault, segments};
use millrace::contract::Timestamp;
use serde::Deserialize;

/// What a report needs of a line. Fields that a newer build adds are none of its business.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entry {
    pub(crate) timestamp: String,
    pub(crate) org_id: String,
    pub(crate) actor_id: String,
    pub(crate) action: String,
    pub(crate) resource_type: String,
    pub(crate) resource_id: String,
    pub(crate) outcome: String,
    #[serde(default)]
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
}

/// How much was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lines: u64,
    /// Lines that are no audit lines: the log needs `millrace audit verify` before its reports count.
    pub(crate) unreadable: u64,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// Reads every line that is there now, oldest first as they stand.
///
/// # Errors
/// [`SegmentFault`]: no log there, or a file cannot be read.
pub(crate) fn read(folder: &Path, mut take: impl FnMut(Timestamp, Entry)) -> Result<Seen, SegmentFault> {
    let mut seen = Seen::default();
    for segment in segments(&Layout::new(folder))? {
        let mut lines = Lines::open(&segment)?;
        while let Some(line) = lines.next_line()? {
            let parsed = serde_json::from_slice::<Entry>(line.bytes()).ok();
            match parsed.and_then(|entry| Some((Timestamp::parse(&entry.timestamp)?, entry))) {
                Some((at, entry)) => {
                    seen.lines += 1;
                    seen.first = Some(seen.first.map_or(at, |first| first.min(at)));
                    seen.last = seen.last.max(Some(at));
                    take(at, entry);
                }
                None => seen.unreadable += 1,
            }
        }
    }
    Ok(seen)
}
