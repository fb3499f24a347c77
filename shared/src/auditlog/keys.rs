//! `vkeys.json`: every key that has signed checkpoints of this log, with the time in which it did.

use serde::{Deserialize, Serialize};

use super::durable;
use super::fault::LogFault;
use super::layout::Layout;
use super::note::{SigningKey, VerifyingKey};
use crate::contract::Timestamp;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Validity {
    vkey: String,
    from: String,
    until: Option<String>,
}

/// Every key that the newest checkpoint may be signed with: those of the file, and the one that signs from now on.
pub(super) fn known(layout: &Layout, key: &SigningKey) -> Result<Vec<VerifyingKey>, LogFault> {
    let mut keys = published(layout)?;
    keys.push(key.verifying());
    Ok(keys)
}

/// The keys of the file.
pub(super) fn published(layout: &Layout) -> Result<Vec<VerifyingKey>, LogFault> {
    read(layout)?.iter().map(|entry| VerifyingKey::parse(&entry.vkey).map_err(|_| damaged(layout))).collect()
}

/// Adds the key that signs from now on; the one before it has signed until now.
pub(super) fn publish(layout: &Layout, key: &SigningKey, now: Timestamp) -> Result<(), LogFault> {
    let mut entries = read(layout)?;
    let vkey = key.verifying().to_string();
    if entries.last().is_some_and(|last| last.vkey == vkey && last.until.is_none()) {
        return Ok(());
    }
    for entry in entries.iter_mut().filter(|entry| entry.until.is_none()) {
        entry.until = Some(now.to_string());
    }
    entries.push(Validity { vkey, from: now.to_string(), until: None });
    let text = serde_json::to_vec_pretty(&entries).map_err(|_| damaged(layout))?;
    durable::replace(&layout.vkeys(), &text)
}

fn read(layout: &Layout) -> Result<Vec<Validity>, LogFault> {
    let Some(bytes) = durable::read(&layout.vkeys())? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|_| damaged(layout))
}

fn damaged(layout: &Layout) -> LogFault {
    LogFault::Damaged { path: layout.vkeys(), problem: "is not the list of keys" }
}
