//! What operators ask a log before they act: it is read while its writer goes on, and nothing is changed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::durable;
use super::fault::LogFault;
use super::heads::{Heads, heads_file};
use super::keys;
use super::layout::Layout;
use super::line::Fields;
use super::note::{Checkpoint, open_note};
use super::retention::{self, PruneRecord};
use super::segments::{self, Lines, Segment};
use crate::contract::{TenantId, Timestamp};

/// Action of the line by which an operator places a legal hold.
pub const HOLD_PLACED: &str = "hold.placed";
/// Action of the line by which an operator lifts it.
pub const HOLD_RELEASED: &str = "hold.released";

/// What `hold.placed` and `hold.released` say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRecord {
    /// The tenant whose lines are held.
    pub org_id: String,
    /// The hold's name.
    pub hold: String,
    /// First number of the tenant that is held.
    pub from_seq: u64,
    /// Last one.
    pub to_seq: u64,
}

/// A hold that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What was placed.
    pub record: HoldRecord,
    /// Since when.
    pub placed: Timestamp,
    /// Who placed it, as the line says.
    pub actor_id: String,
}

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

/// First and last number of a tenant's lines that the log still has; `None` when it has none.
///
/// # Errors
/// [`LogFault`].
pub fn tenant_sequence(folder: &Path, org: &TenantId) -> Result<Option<(u64, u64)>, LogFault> {
    let layout = Layout::new(folder);
    let (size, mut heads) = Heads::load(&heads_file(&layout))?;
    let mut last = heads.of(org.as_str()).tenant_seq;
    let mut first = None;
    for segment in segments::segments(&layout)? {
        // Before the heads the first line is all that is looked for.
        if segment.first >= size || first.is_none() {
            visit(&segment, |fields| {
                if let Some(position) = fields.position.filter(|_| fields.org_id == org.as_str()) {
                    first = first.or(Some(position.tenant_seq));
                    last = last.max(position.tenant_seq);
                }
            })?;
        }
    }
    Ok(first.map(|first| (first, last)))
}

/// The holds that are in force, oldest first. Reads every line that the log still has.
///
/// # Errors
/// [`LogFault`].
pub fn holds(folder: &Path) -> Result<Vec<Hold>, LogFault> {
    let layout = Layout::new(folder);
    let mut holds: Vec<Hold> = Vec::new();
    for segment in segments::segments(&layout)? {
        visit(&segment, |fields| {
            if fields.org_id != TenantId::OPERATOR || !matches!(fields.action, HOLD_PLACED | HOLD_RELEASED) {
                return;
            }
            let Ok(record) = serde_json::from_str::<HoldRecord>(fields.metadata) else { return };
            holds.retain(|hold| hold.record.hold != record.hold);
            if fields.action == HOLD_PLACED {
                holds.push(Hold { record, placed: fields.timestamp, actor_id: fields.actor_id.to_owned() });
            }
        })?;
    }
    Ok(holds)
}

fn visit(segment: &Segment, mut each: impl FnMut(&Fields<'_>)) -> Result<(), LogFault> {
    let mut lines = Lines::open(segment)?;
    while let Some(line) = lines.next_line()? {
        let (bytes, number) = (line.bytes(), line.number);
        let foreign = || LogFault::Foreign { path: segment.path.clone(), line: number };
        each(&Fields::read(bytes).ok_or_else(foreign)?);
    }
    Ok(())
}
