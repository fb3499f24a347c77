//! Part of `[compliance]`: where exports of tenants' data are kept, who signs them, and where they are asked for.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::{Process, Reader};
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
    S3(Box<BucketConfig>),
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// What every object's name begins with.
    pub prefix: String,
    /// Where it is.
    pub region: String,
    /// Address of a service that is not Amazon's.
    pub endpoint: Option<Url>,
    /// Id and secret of an access key; without them the host's own identity counts.
    pub access_key: Option<(String, SecretString)>,
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
    let bucket = bucket(s, process);
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
        ("s3", Some(name)) => {
            let prefix = url.path().trim_matches('/').to_owned();
            ExportStoreConfig::S3(Box::new(BucketConfig { bucket: name.to_owned(), prefix, ..bucket }))
        }
        _ => mistaken(s),
    }
}

fn mistaken(s: &mut Reader) -> ExportStoreConfig {
    s.mistake(STORE, format!("must be {STORE_FORM}"));
    ExportStoreConfig::Folder(PathBuf::new())
}

/// What is said about a bucket, whether there is one or not, so that no key is unknown.
fn bucket(s: &mut Reader, process: Process) -> BucketConfig {
    let region = s.text("export_store_region", Some("us-east-1"));
    let endpoint = match s.has("export_store_endpoint") {
        true => s.parsed::<Url>("export_store_endpoint", None, "a URL such as https://s3.example"),
        false => None,
    };
    if endpoint.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
        s.mistake("export_store_endpoint", "must be a URL such as https://s3.example");
    }
    let id = s.text("export_store_access_key_id", Some(""));
    let reads = [Process::Worker, Process::Ingress, Process::Operator].into_iter().any(|one| process.is(one));
    let secret = s.secret("export_store_secret_key", reads && !id.is_empty());
    let access_key = secret.filter(|_| !id.is_empty()).map(|secret| (id, secret));
    BucketConfig { bucket: String::new(), prefix: String::new(), region, endpoint, access_key }
}
