//! Part of `[compliance]`: where exports of tenants' data are kept, who signs them, and where they are asked for.

use std::path::PathBuf;

use url::Url;

use super::{Bucket, Process, Reader};
use crate::auditlog::SigningKey;

/// Where the specification puts the request for an export.
const ENDPOINT: &str = "/api/compliance/export";
/// Folder of exports beside the configuration file, where nothing else is said.
const FOLDER: &str = "exports";
const STORE: &str = "export_store";
const STORE_FORM: &str = "a folder as file:///path, or s3://bucket/prefix";

/// Exports of tenants' data.
#[derive(Debug)]
pub struct ExportsConfig {
    /// Path of the request; the command has its own beside it.
    pub endpoint: String,
    /// Where they are kept.
    pub store: ExportStoreConfig,
    /// Signs their manifests; without it no export is made.
    pub signing_key: Option<SigningKey>,
}

/// Where exports are kept.
#[derive(Debug, Clone)]
pub enum ExportStoreConfig {
    /// A folder that workers and ingress share.
    Folder(PathBuf),
    /// A bucket of S3, or of what speaks its protocol.
    S3(Box<Bucket>),
}

impl ExportsConfig {
    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let endpoint = s.text("gdpr_data_export_endpoint", Some(ENDPOINT));
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "/-_.".contains(c));
        if !endpoint.starts_with("/api/") || endpoint.contains(odd) || endpoint.ends_with('/') {
            s.mistake("gdpr_data_export_endpoint", "must be a path below /api/, such as /api/compliance/export");
        }
        // The ingress reads what was written, and signs nothing.
        let signs = process.is(Process::Worker) && (s.has("export_signing_key") || s.has("export_signing_key_file"));
        Self { endpoint, store: store(s, process), signing_key: signing_key(s, signs) }
    }
}

fn signing_key(s: &mut Reader, needed: bool) -> Option<SigningKey> {
    let text = s.secret("export_signing_key", needed)?;
    let advice = "must be a key as `millrace audit keygen <deployment>/exports` writes it: PRIVATE+KEY+…";
    SigningKey::parse(&text).map_err(|_| s.mistake("export_signing_key", advice)).ok()
}

fn store(s: &mut Reader, process: Process) -> ExportStoreConfig {
    let folder = |s: &mut Reader| ExportStoreConfig::Folder(s.beside(FOLDER));
    if !s.has(STORE) {
        return folder(s);
    }
    let Some(url) = s.parsed::<Url>(STORE, None, STORE_FORM) else { return folder(s) };
    match (url.scheme(), url.host_str()) {
        ("file", None) => match url.to_file_path() {
            Ok(path) => ExportStoreConfig::Folder(path),
            Err(()) => mistaken(s),
        },
        _ => match Bucket::read(s, STORE, &url, reads(process)) {
            Some(bucket) => ExportStoreConfig::S3(Box::new(bucket)),
            None => mistaken(s),
        },
    }
}

fn mistaken(s: &mut Reader) -> ExportStoreConfig {
    s.mistake(STORE, format!("must be {STORE_FORM}"));
    ExportStoreConfig::Folder(PathBuf::new())
}

/// Who writes, reads or deletes exports.
fn reads(process: Process) -> bool {
    [Process::Worker, Process::Ingress, Process::Operator].into_iter().any(|one| process.is(one))
}
