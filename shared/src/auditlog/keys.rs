//! `vkeys.json`: every key that has signed checkpoints of this log, with the time in which it did. The file itself has no
//! signature: each checkpoint signs the hash of what it says.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::durable;
use super::fault::LogFault;
use super::layout::Layout;
use super::note::{SigningKey, VerifyingKey};
use super::tree::Hash;
use crate::contract::Timestamp;

/// When a key has signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Validity {
    pub(super) vkey: String,
    pub(super) from: String,
    pub(super) until: Option<String>,
}

/// The hash that checkpoints sign while the last of these keys is the one that signs: SHA-256 over a line for each key, with
/// its text, when it began and when it ended, which is a dash for the last.
pub(super) fn table_hash(entries: &[Validity]) -> Hash {
    let mut hash = Sha256::new();
    for (place, Validity { vkey, from, until }) in entries.iter().enumerate() {
        let until = until.as_deref().filter(|_| place + 1 < entries.len()).unwrap_or("-");
        hash.update(format!("{vkey} {from} {until}\n"));
    }
    Hash(hash.finalize().into())
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

/// Adds the key that signs from now on; the one before it has signed until now. Returns the hash of the table.
pub(super) fn publish(layout: &Layout, key: &SigningKey, now: Timestamp) -> Result<Hash, LogFault> {
    let mut entries = read(layout)?;
    let vkey = key.verifying().to_string();
    if entries.last().is_some_and(|last| last.vkey == vkey && last.until.is_none()) {
        return Ok(table_hash(&entries));
    }
    if entries.iter().any(|entry| entry.vkey == vkey) {
        return Err(LogFault::KeyReturned(vkey));
    }
    for entry in entries.iter_mut().filter(|entry| entry.until.is_none()) {
        entry.until = Some(now.to_string());
    }
    entries.push(Validity { vkey, from: now.to_string(), until: None });
    let text = serde_json::to_vec_pretty(&entries).map_err(|_| damaged(layout))?;
    durable::replace(&layout.vkeys(), &text)?;
    Ok(table_hash(&entries))
}

fn read(layout: &Layout) -> Result<Vec<Validity>, LogFault> {
    let Some(bytes) = durable::read(&layout.vkeys())? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|_| damaged(layout))
}

fn damaged(layout: &Layout) -> LogFault {
    LogFault::Damaged { path: layout.vkeys(), problem: "is not the list of keys" }
}
