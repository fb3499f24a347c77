//! `[compliance]`: the audit log, erasures and exports.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};
use url::Url;

use super::{Bucket, ExportsConfig, Process, Reader};
use crate::auditlog::SigningKey;
use crate::contract::{AuditEventKey, SealKey};

/// Where the audit log is, who signs it, the key behind its event ids, and how long an erasure cools off.
#[derive(Debug)]
pub struct ComplianceConfig {
    /// Folder of the log; its lines stand in `seg/`.
    pub audit_log_path: PathBuf,
    /// Name of the log: origin of its checkpoints and name of its key.
    pub audit_log_name: String,
    /// Signs checkpoints; the audit worker alone has it.
    pub audit_log_key: Option<SigningKey>,
    /// The file with that key, for operators who sign what they export of the log.
    pub audit_log_key_file: Option<PathBuf>,
    /// Where legal holds pin their evidence.
    pub hold_evidence_path: Option<PathBuf>,
    /// Where checkpoints are copied to, off this host.
    pub checkpoint_copy: Option<CheckpointCopy>,
    /// A segment of the log that has reached so many bytes is closed.
    pub audit_segment_bytes: u64,
    /// How long lines are kept.
    pub retention: Duration,
    /// For how many days lines can be searched; `None` when they are not indexed.
    pub audit_index_days: Option<u16>,
    /// How long an erasure can be taken back before it is executed.
    pub erasure_cooling_off: Duration,
    /// Exports of tenants' data.
    pub exports: ExportsConfig,
    /// Makes event ids; every process that settles messages holds the same one, for ever.
    pub event_id_key: Option<AuditEventKey>,
}

/// Where checkpoints are copied to.
#[derive(Debug, Clone)]
pub enum CheckpointCopy {
    /// A program and its arguments; it reads the note on standard input and exits with 0 when it is held.
    Command(Vec<String>),
    /// A folder, on storage that this host cannot rewrite, such as a mount of a write-once share.
    Folder(PathBuf),
    /// A bucket of an object store.
    Bucket(Bucket),
}

/// Days for which lines are kept, where nothing else is said.
const RETENTION_DAYS: u64 = 365;
/// Bytes of a segment, where nothing else is said.
const SEGMENT_BYTES: u64 = 64 << 20;
/// A hundred years.
const LONGEST_RETENTION: u64 = 36_500;
/// How long an erasure can be taken back where nothing else is said: a day.
const COOLING_OFF_S: u64 = 86_400;
/// A person waits no longer than the month that article 12 of the GDPR gives.
const LONGEST_COOLING_OFF_S: u64 = 30 * 86_400;

impl ComplianceConfig {
    pub(super) fn read(s: &mut Reader, process: Process, deployment: &str) -> Self {
        let audit_log_path = s.path("audit_log_path");
        if audit_log_path.is_none() && process.is(Process::Audit) {
            s.mistake("audit_log_path", "is missing: name the folder of the audit log");
        }
        let needed = process.is(Process::Worker) || process.is(Process::Operator);
        let key = hex_secret(s, "event_id_key", needed);
        let cooling_off = s.number("erasure_cooling_off_s", COOLING_OFF_S, 0..=LONGEST_COOLING_OFF_S);
        let audit_log_name = s.text("audit_log_name", Some(&format!("{deployment}/audit")));
        if audit_log_name.is_empty() || audit_log_name.contains(|c: char| c.is_whitespace() || c == '+') {
            s.mistake("audit_log_name", "must be a name without white space and plus signs, such as eu1.example/audit");
        }
        let audit_log_key = signing_key(s, process, &audit_log_name);
        let checkpoint_copy = checkpoint_copy(s, process.is(Process::Audit));
        let required = s.word("soc2_audit_trail_required", false, &[("true", true), ("false", false)]);
        if required && checkpoint_copy.is_none() && process.is(Process::Audit) {
            s.mistake(
                "checkpoint_copy",
                "is missing, and soc2_audit_trail_required needs it: give a bucket, a folder or a command off this host",
            );
        }
        let days = s.number("retention_days", RETENTION_DAYS, 1..=LONGEST_RETENTION);
        Self {
            erasure_cooling_off: Duration::from_secs(cooling_off),
            audit_log_path: audit_log_path.unwrap_or_default(),
            audit_log_name,
            audit_log_key,
            audit_log_key_file: s.path("audit_log_key_file"),
            hold_evidence_path: s.path("hold_evidence_path"),
            checkpoint_copy,
            audit_segment_bytes: s.number("audit_segment_bytes", SEGMENT_BYTES, 4_096..=1 << 30),
            retention: Duration::from_secs(days * 86_400),
            audit_index_days: index_days(s),
            exports: ExportsConfig::read(s, process),
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

fn signing_key(s: &mut Reader, process: Process, name: &str) -> Option<SigningKey> {
    let needed = process.is(Process::Audit);
    let given = s.has("audit_log_key") || s.has("audit_log_key_file");
    if needed && !given {
        s.secret("audit_log_key", false);
        let advice = "is missing: make a key with `millrace audit keygen` and name its file as audit_log_key_file";
        s.mistake("audit_log_key", advice);
        return None;
    }
    let text = s.secret("audit_log_key", needed)?;
    let advice = "must be a key as `millrace audit keygen` writes it: PRIVATE+KEY+…";
    let key = SigningKey::parse(&text).map_err(|_| s.mistake("audit_log_key", advice)).ok()?;
    if key.name() != name {
        s.mistake("audit_log_key", format!("is a key of the log {:?}, but audit_log_name is {name:?}", key.name()));
        return None;
    }
    Some(key)
}

fn checkpoint_copy(s: &mut Reader, needed: bool) -> Option<CheckpointCopy> {
    let form = "a bucket as s3://name/prefix, a folder as file:///path, or a command as a list of texts";
    if s.is_list("checkpoint_copy") {
        let command = s.list("checkpoint_copy");
        if command.first().is_none_or(String::is_empty) {
            s.mistake("checkpoint_copy", format!("must be {form}"));
            return None;
        }
        return Some(CheckpointCopy::Command(command));
    }
    if !s.has("checkpoint_copy") {
        return None;
    }
    let url = s.parsed::<Url>("checkpoint_copy", None, form)?;
    match url.to_file_path() {
        Ok(folder) if url.scheme() == "file" => Some(CheckpointCopy::Folder(folder)),
        _ => {
            let bucket = Bucket::read(s, "checkpoint_copy", &url, needed);
            if bucket.is_none() {
                s.mistake("checkpoint_copy", format!("must be {form}"));
            }
            bucket.map(CheckpointCopy::Bucket)
        }
    }
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
