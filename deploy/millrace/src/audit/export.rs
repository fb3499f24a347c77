//! `millrace audit export` and `millrace audit prove`: what is given away of the log, with its proof.

use std::path::PathBuf;

use clap::Args;
use millrace::auditlog::SigningKey;
use millrace::auditlog::export::{ExportFault, export, prove};
use serde_json::json;
use uuid::Uuid;

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

pub(super) const EXPORT: &str = "Example: millrace audit export --org org_2abC --log /var/lib/millrace/audit \
    --key-file log.key --out ./org_2abC\n\
    The folder holds the tenant's lines, an inclusion proof for each, a signed manifest with the tenant's last number, the \
    checkpoint with its history, the public keys and the retention records; of other tenants nothing but hashes. \
    `millrace audit verify` takes it, without this log.";

pub(super) const PROVE: &str = "Example: millrace audit prove 0192f0c1-7c1b-8d5e-9f3a-2b4c6d8e0f1a \
    --log /var/lib/millrace/audit --out ./event\n\
    Prints the event's line and its tlog-proof; with --out both go to a folder that `millrace audit verify` takes.";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The tenant.
    #[arg(long)]
    org: String,
    /// Folder of the log.
    #[arg(long, value_name = "PATH")]
    log: PathBuf,
    /// A new folder for the export.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// File with the log's private key, which signs the manifest.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

impl Export {
    pub(super) fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let org = crate::tenants::tenant(&self.org)?;
        let text = std::fs::read_to_string(&self.key_file)
            .map_err(|fault| Usage(format!("cannot read {}: {fault}", self.key_file.display())))?;
        let key =
            SigningKey::parse(&text.into()).map_err(|fault| Usage(format!("{}: {fault}", self.key_file.display())))?;
        let done = export(&self.log, org.as_str(), &self.out, &key).map_err(usage)?;
        let (first, last) = done.numbers;
        let text = format!(
            "{} lines of {org}, numbers {first} to {last}, proved at size {}: {}",
            done.lines,
            done.size,
            self.out.display()
        );
        let facts =
            json!({ "org_id": org.as_str(), "lines": done.lines, "first": first, "last": last, "size": done.size });
        screen.done(&text, facts);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The event's id.
    event: Uuid,
    /// Folder of the log.
    #[arg(long, value_name = "PATH")]
    log: PathBuf,
    /// A new folder for the proof.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Prove {
    pub(super) fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let proved = prove(&self.log, self.event, self.out.as_deref()).map_err(usage)?;
        let line = String::from_utf8_lossy(&proved.line);
        if screen.is_json() {
            screen.raw(&json!({ "index": proved.index, "line": line, "proof": proved.proof }).to_string());
        } else {
            screen.raw(&line);
            screen.raw("");
            screen.raw(proved.proof.trim_end());
        }
        Ok(())
    }
}

fn usage(fault: ExportFault) -> CommandFault {
    match fault {
        ExportFault::Nothing(_) | ExportFault::Occupied(_) | ExportFault::OtherLog { .. } => {
            Usage(fault.to_string()).into()
        }
        fault => fault.into(),
    }
}
