//! `millrace dead discard`

use std::process::ExitCode;

use clap::Args;
use millrace::contract::Contract;

use super::marking::{Because, Marking, Target};
use crate::CommandFault;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = r"Examples:
  millrace dead discard 0192f0c1-… --because 'a test event of the provider'
  millrace dead discard --reason unsealed --older-than 7d --because 'nobody we know' --dry-run
A discarded letter stays where it is and is never redriven; each has its audit event under its tenant with
your name. A later copy of its message is still known as a copy.";

#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever looks at the letter later; at most 500 characters, and no personal data.
    #[arg(long, value_name = "TEXT")]
    because: Because,
}

impl Discard {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        self.target.run(&Marking::Discard { because: self.because.clone() }, contract, screen).await
    }
}
