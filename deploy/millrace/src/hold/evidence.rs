//! The evidence of a hold: the tenant's lines with their proofs in a folder of their own, which no expiry reaches.

use std::path::{Path, PathBuf};

use clap::Args;
use millrace::auditlog::SigningKey;
use millrace::auditlog::export::{ExportFault, export};
use millrace::auditlog::layout::Layout;
use millrace::config::ComplianceConfig;
use millrace::contract::TenantId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::CommandFault;
use crate::operator::Usage;

/// Where the evidence goes, and what it is made of.
#[derive(Debug, Args)]
pub(super) struct Evidence {
    /// Pin the tenant's audit lines with their proofs in a new folder below this one [default: compliance.hold_evidence_path]
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Folder of the log [default: compliance.audit_log_path]
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
    /// File with the log's private key, which signs the bundle's manifest [default: compliance.audit_log_key_file]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// What was pinned.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) folder: PathBuf,
    pub(super) manifest: [u8; 32],
    pub(super) lines: u64,
}

/// The folder of a hold below the one for all; the tenant's and the matter's names may hold anything that a path must not.
pub(super) fn folder_name(id: Uuid) -> String {
    format!("hold-{id}")
}

impl Evidence {
    /// The folder for all holds, if there is one.
    pub(super) fn folder<'a>(&'a self, config: &'a ComplianceConfig) -> Option<&'a Path> {
        self.evidence.as_deref().or(config.hold_evidence_path.as_deref())
    }

    /// Writes the bundle. It is complete or not there: one that was broken off is begun again.
    pub(super) fn pin(
        &self,
        below: &Path,
        config: &ComplianceConfig,
        (org, id): (&TenantId, Uuid),
    ) -> Result<Pinned, CommandFault> {
        let key = self.key(config)?;
        let log = self.log.as_deref().unwrap_or(&config.audit_log_path);
        let folder = below.join(folder_name(id));
        let partial = below.join(format!("{}.partial", folder_name(id)));
        if !folder.exists() {
            if partial.exists() {
                std::fs::remove_dir_all(&partial).map_err(|fault| unusable(&partial, &fault))?;
            }
            export(log, org.as_str(), &partial, &key).map_err(usage)?;
            std::fs::rename(&partial, &folder).map_err(|fault| unusable(&folder, &fault))?;
        }
        let layout = Layout::new(&folder);
        let read = |path: &Path| std::fs::read(path).map_err(|fault| unusable(path, &fault));
        let manifest = read(&layout.export_manifest())?;
        let lines = read(&layout.export_lines())?.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(Pinned { folder, manifest: Sha256::digest(manifest).into(), lines })
    }

    fn key(&self, config: &ComplianceConfig) -> Result<SigningKey, CommandFault> {
        let file = self.key_file.as_deref().or(config.audit_log_key_file.as_deref()).ok_or_else(|| {
            Usage(
                "the bundle is signed: name the log's key with --key-file or compliance.audit_log_key_file".to_owned(),
            )
        })?;
        let text = std::fs::read_to_string(file).map_err(|fault| unusable(file, &fault))?;
        Ok(SigningKey::parse(&text.into()).map_err(|fault| Usage(format!("{}: {fault}", file.display())))?)
    }
}

fn unusable(path: &Path, fault: &std::io::Error) -> Usage {
    Usage(format!("cannot use {}: {fault}", path.display()))
}

fn usage(fault: ExportFault) -> CommandFault {
    match fault {
        ExportFault::Nothing(_) | ExportFault::OtherLog { .. } => Usage(fault.to_string()).into(),
        fault => fault.into(),
    }
}
