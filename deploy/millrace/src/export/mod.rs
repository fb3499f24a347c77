//! `millrace export`: exports of tenants' data, for operators, and the check of an archive for anybody.

mod fetch;
mod list;
mod request;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use millrace::contract::Contract;

use crate::CommandFault;
use crate::screen::Screen;

/// Kind of target in audit lines.
const EXPORT: &str = "export";

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Begin an export of a tenant, or of one person of it; also of a closed tenant, whose members are refused.
    #[command(after_help = request::EXAMPLE)]
    Request(request::Request),
    /// Show a tenant's exports, newest first.
    List(list::List),
    /// Write the archive of an export to a file.
    #[command(after_help = fetch::EXAMPLE)]
    Fetch(fetch::Fetch),
    /// Compare an archive with its manifest, and the manifest with a public key; needs no server.
    #[command(after_help = verify::ABOUT)]
    Verify(verify::Verify),
}

impl Export {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        match self {
            Self::Request(request) => request.run(contract, screen).await?,
            Self::List(list) => list.run(contract, screen).await?,
            Self::Fetch(fetch) => fetch.run(contract, screen).await?,
            Self::Verify(verify) => return verify.run(screen),
        }
        Ok(ExitCode::SUCCESS)
    }
}
