//! `millrace audit`: what an operator does with the audit log. One command a file.

mod keygen;
mod reconcile;
mod reindex;

use std::process::ExitCode;

use clap::Subcommand;
use millrace::contract::Contract;

use crate::CommandFault;
use crate::screen::Screen;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Make a key that signs the log's checkpoints.
    #[command(after_help = keygen::EXAMPLE)]
    Keygen(keygen::Keygen),
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
            Self::Keygen(keygen) => keygen.run(screen).map(|()| ExitCode::SUCCESS),
            Self::Reconcile(reconcile) => reconcile.run(contract, screen).await,
            Self::Reindex(reindex) => reindex.run(contract, screen).await.map(|()| ExitCode::SUCCESS),
        }
    }
}
