//! What operators ask a log before they act: it is read while its writer goes on, and nothing is changed.

use std::path::Path;

use super::durable;
use super::fault::LogFault;
use super::keys;
use super::layout::Layout;
use super::note::{Checkpoint, open_note};
use super::retention::{self, PruneRecord};
use super::segments;
use crate::contract::Timestamp;

/// The newest checkpoint of a log, under its own keys.
///
/// # Errors
/// [`LogFault`]; a log that never ran has none.
pub fn newest_checkpoint(layout: &Layout) -> Result<Checkpoint, LogFault> {
    let path = layout.checkpoint();
    let Some(note) = durable::read(&path)? else {
        return Err(LogFault::Damaged { path, problem: "is not there: has the audit worker ever run?" });
    };
    let keys = keys::published(layout)?;
    open_note(&String::from_utf8_lossy(&note), &keys)
        .map_err(|fault| LogFault::Checkpoint { path, problem: fault.to_string() })
}

/// What of a log may be dropped when lines are kept for so many days. `None` when nothing may.
///
/// # Errors
/// [`LogFault`].
pub fn plan_prune(folder: &Path, days: u64, now: Timestamp) -> Result<Option<PruneRecord>, LogFault> {
    let layout = Layout::new(folder);
    let newest = newest_checkpoint(&layout)?;
    let (_, dropped) = retention::read(&layout)?;
    let ledger = segments::ledger(&layout)?;
    Ok(PruneRecord::plan(&ledger, dropped, newest.size, newest.root.to_string(), days, now))
}
