//! `millrace audit`: the audit log's keys, holds and retention. One command a file.

mod keygen;

use clap::Subcommand;

use crate::CommandFault;
use crate::screen::Screen;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Make a key that signs the log's checkpoints.
    #[command(after_help = keygen::EXAMPLE)]
    Keygen(keygen::Keygen),
}

impl Audit {
    pub(crate) fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Keygen(keygen) => keygen.run(screen),
        }
    }
}
