//! `[compliance]`: the audit log.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};

use super::{Process, Reader};
use crate::contract::{AuditEventKey, SealKey};

/// Where the audit log is, and the key behind its event ids.
#[derive(Debug)]
pub struct ComplianceConfig {
    /// Folder of the log; its lines stand in `seg/`.
    pub audit_log_path: PathBuf,
    /// For how many days lines can be searched; `None` when they are not indexed.
    pub audit_index_days: Option<u16>,
    /// How long an erasure can be taken back before it is executed.
    pub erasure_cooling_off: Duration,
    /// Makes event ids; every process that settles messages holds the same one, for ever.
    pub event_id_key: Option<AuditEventKey>,
}

/// A day, where nothing else is said.
const COOLING_OFF_S: u64 = 86_400;
/// A person waits no longer than the month that article 12 of the GDPR gives.
const LONGEST_COOLING_OFF_S: u64 = 30 * 86_400;

impl ComplianceConfig {
    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let audit_log_path = s.path("audit_log_path");
        if audit_log_path.is_none() && process.is(Process::Audit) {
            s.mistake("audit_log_path", "is missing: name the folder of the audit log");
        }
        let needed = process.is(Process::Worker) || process.is(Process::Operator);
        let key = hex_secret(s, "event_id_key", needed);
        let cooling_off = s.number("erasure_cooling_off_s", COOLING_OFF_S, 0..=LONGEST_COOLING_OFF_S);
        Self {
            erasure_cooling_off: Duration::from_secs(cooling_off),
            audit_log_path: audit_log_path.unwrap_or_default(),
            audit_index_days: index_days(s),
            event_id_key: key.and_then(|key| AuditEventKey::new(key.expose_secret())),
        }
    }
}

/// Days of the index where none are named.
const INDEX_DAYS: u64 = 90;
/// Most days of the index: ten years.
const MOST_INDEX_DAYS: u64 = 3_660;

/// Nought turns the index off.
fn index_days(s: &mut Reader) -> Option<u16> {
    let days = s.number("audit_index_days", INDEX_DAYS, 0..=MOST_INDEX_DAYS);
    u16::try_from(days).ok().filter(|days| *days > 0)
}

/// A key of at least 32 bytes, written as hex.
pub(super) fn hex_secret(s: &mut Reader, key: &str, needed: bool) -> Option<SecretSlice<u8>> {
    let text = s.secret(key, needed)?;
    match hex::decode(text.expose_secret().trim()) {
        Ok(bytes) if bytes.len() >= SealKey::SHORTEST => Some(bytes.into()),
        _ => {
            s.mistake(key, "must be at least 32 bytes in hex; make one with: openssl rand -hex 32");
            None
        }
    }
}
