//! `millrace dead redrive`

use std::process::ExitCode;

use clap::Args;
use millrace::contract::Contract;

use super::marking::{Because, Marking, Target};
use crate::CommandFault;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = r"Examples:
  millrace dead redrive 0192f0c1-… 0192f0c2-…
  millrace dead redrive --reason period_end_missing --newer-than 2d --dry-run
  millrace dead redrive --all --because 'fixed in 1.4.2'
Letters are marked, audited under their tenants with your name, and handed to the relay, 500 in one
transaction. Broken off, run it again: what is marked is not sent twice. A message keeps its id, so one that
was applied after all stays a duplicate; one that dies again is a new letter. It goes over the overflow lane,
so many of them delay nobody. What is older than 35 days may be forgotten by the inbox and could be applied
twice: it takes --force, and why.";

#[derive(Debug, Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever looks at the letter later; at most 500 characters, and no personal data.
    #[arg(long, value_name = "TEXT")]
    because: Option<Because>,
    /// Redrive also what is older than the inbox remembers; takes --because.
    #[arg(long, requires = "because")]
    force: bool,
}

impl Redrive {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let marking = Marking::Redrive { force: self.force, because: self.because.clone() };
        self.target.run(&marking, contract, screen).await
    }
}
