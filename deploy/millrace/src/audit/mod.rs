//! `millrace audit`: what an operator does with the audit log. One command a file.

mod export;
mod keygen;
mod prune;
mod reconcile;
mod reindex;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use millrace::config::Config;
use millrace::contract::Contract;

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

/// Kind of target in audit lines.
const LOG: &str = "audit_log";

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Make a key that signs the log's checkpoints.
    #[command(after_help = keygen::EXAMPLE)]
    Keygen(keygen::Keygen),
    /// Say whether a log, a copy of one or an export is what was logged; needs no server.
    #[command(after_help = verify::ABOUT)]
    Verify(verify::Verify),
    /// Give away one tenant's lines, with proof that they are all.
    #[command(after_help = export::EXPORT)]
    Export(export::Export),
    /// Give away one event, with proof that it was logged.
    #[command(after_help = export::PROVE)]
    Prove(export::Prove),
    /// Have old segments dropped, whole and on record.
    #[command(after_help = prune::EXAMPLE)]
    Prune(prune::Prune),
    /// Compare the log with the database: every settled message has exactly one line, and no line lacks its message.
    #[command(after_help = reconcile::ABOUT)]
    Reconcile(reconcile::Reconcile),
    /// Empty the index behind GET /api/audit and make it again from the log's files.
    #[command(after_help = reindex::ABOUT)]
    Reindex(reindex::Reindex),
}

impl Audit {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        match self {
            Self::Verify(verify) => return verify.run(screen),
            Self::Reconcile(reconcile) => return reconcile.run(contract, screen).await,
            Self::Keygen(keygen) => keygen.run(screen)?,
            Self::Export(export) => export.run(screen)?,
            Self::Prove(prove) => prove.run(screen)?,
            Self::Prune(prune) => prune.run(contract, screen).await?,
            Self::Reindex(reindex) => reindex.run(contract, screen).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The folder of the log that the configuration names.
fn folder(config: &Config) -> Result<&Path, Usage> {
    let folder = config.compliance.audit_log_path.as_path();
    if folder.as_os_str().is_empty() {
        return Err(Usage("compliance.audit_log_path is missing: it names the folder of the audit log".to_owned()));
    }
    Ok(folder)
}
