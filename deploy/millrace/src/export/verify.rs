//! `millrace export verify`: is what is in an archive what the deployment signed? Needs no database, no network and no
//! configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use millrace::auditlog::note::VerifyingKey;
use millrace::exports::{Findings, verify_archive};
use serde_json::json;

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

/// Most faults that are shown to people; --json has all.
const SHOWN: usize = 20;

pub(super) const ABOUT: &str = "\
Examples:
  millrace export verify export-0192f0c1.tar --key eu1/exports+1a2b3c4d+AZ...
  millrace export verify ./unpacked --key exports.pub --json

ARCHIVE is the tar file as it was downloaded, or the folder export-... in it. The key is the public one that
`millrace audit keygen <deployment>/exports` printed, or a file with it; take it from somewhere else than the archive.

Exit codes and the names in \"fault\" of --json, which are stable:
  0 valid
  1 altered: file-altered file-foreign file-twice manifest-altered manifest-malformed
  2 missing: file-missing manifest-missing signature-missing cut-off
  3 signature or key: unknown-key signature-wrong signature-malformed
  64 usage, 70 a file cannot be read
With faults of several classes the exit code is that of the first of 3, 1, 2.";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The archive, or the folder that it was unpacked to.
    archive: PathBuf,
    /// The deployment's public key for exports, <name>+<id>+<base64>, or a file with it.
    #[arg(long, value_name = "KEY")]
    key: String,
}

impl Verify {
    pub(super) fn run(&self, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let key = self.key()?;
        let found = verify_archive(&self.archive, &key)?;
        show(&found, screen);
        Ok(ExitCode::from(found.exit()))
    }

    fn key(&self) -> Result<VerifyingKey, Usage> {
        let said = match VerifyingKey::parse(&self.key) {
            Ok(key) => return Ok(key),
            Err(fault) => fault,
        };
        let text = std::fs::read_to_string(&self.key)
            .map_err(|fault| Usage(format!("--key is neither a key ({said}) nor a file that can be read ({fault})")))?;
        VerifyingKey::parse(text.trim()).map_err(|fault| Usage(format!("{}: {fault}", self.key)))
    }
}

fn show(found: &Findings, screen: &Screen) {
    let valid = found.exit() == 0;
    if screen.is_json() {
        let troubles: Vec<_> = found.troubles.iter().map(|t| json!({ "fault": t.fault, "file": t.file })).collect();
        let manifest = found.manifest.as_ref();
        screen.document(&json!({
            "result": if valid { "valid" } else { "not valid" },
            "fault": found.troubles.iter().min_by_key(|t| [3, 1, 2].iter().position(|c| *c == t.class())).map(|t| t.fault),
            "org_id": manifest.map(|m| &m.org_id), "export_id": manifest.map(|m| m.export_id),
            "scope": manifest.map(|m| &m.scope), "user_id": manifest.and_then(|m| m.user_id.as_ref()),
            "began_at": manifest.map(|m| &m.began_at), "finished_at": manifest.map(|m| &m.finished_at),
            "files": found.files, "rows": found.rows, "faults": troubles,
        }));
        return;
    }
    if let Some(manifest) = &found.manifest {
        screen.raw(&format!("export     {} of {} ({})", manifest.export_id, manifest.org_id, manifest.deployment));
        screen.raw(&format!("read       {} .. {}, no snapshot", manifest.began_at, manifest.finished_at));
        let (tables, out) = (manifest.tables.len(), manifest.left_out.len());
        screen.raw(&format!("tables     {tables} exported, {out} left out with their reasons"));
    }
    screen.raw(&format!("files      {} as the manifest lists them, {} rows", found.files, found.rows));
    for trouble in found.troubles.iter().take(SHOWN) {
        screen.raw(&format!("fault      {} {}", trouble.fault, trouble.file));
    }
    if found.troubles.len() > SHOWN {
        screen.raw(&format!("           and {} more: --json has all", found.troubles.len() - SHOWN));
    }
    screen.raw(if valid { "RESULT     VALID" } else { "RESULT     NOT VALID" });
}
