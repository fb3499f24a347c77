//! `millrace dead`: what could not be settled, and what an operator makes of it. One command a file.

mod age;
mod discard;
mod filters;
mod letter;
mod list;
mod marking;
mod preview;
mod redrive;
mod show;
mod tally;
mod verdict;

use std::process::ExitCode;

use clap::Subcommand;
use millrace::contract::Contract;
use uuid::Uuid;

use crate::CommandFault;
use crate::screen::Screen;

/// Kind of target in audit lines.
const DEAD_LETTER: &str = "dead_letter";
/// Letters of one transaction, and in memory at a time.
const PAGE: u16 = 500;
/// Exit code when some of what was asked for stays as it is: `EX_DATAERR` of `sysexits.h`.
const SOME_STAY: u8 = 65;

const ABOUT: &str = r"A dead letter is a message that cannot be settled, kept as it arrived. Find out why, mend that, and then:
  millrace dead list --tenant org_2abC                    what is dead, newest first
  millrace dead show 0192f0c1-…                           one of them, without its body
  millrace dead redrive --reason malformed --dry-run      what would happen
  millrace dead redrive --reason malformed                send them to their worker again
  millrace dead discard 0192f0c1-… --because 'test data'  set one aside for good
Looking and acting are audited under your name.
Exit codes: 0 done, 64 bad usage or configuration, 65 some letters stay as they are (each reason is told),
70 it failed on the way: run it again to go on.";

#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT)]
pub(crate) enum Dead {
    /// Show dead letters, newest first.
    #[command(after_help = list::EXAMPLE)]
    List(list::List),
    /// Show one dead letter with its fields; its body only on request.
    #[command(after_help = show::EXAMPLE)]
    Show(show::Show),
    /// Send dead letters to their workers again, as they arrived, over the overflow lane.
    #[command(after_help = redrive::EXAMPLE)]
    Redrive(redrive::Redrive),
    /// Mark dead letters as done with; nothing is deleted.
    #[command(after_help = discard::EXAMPLE)]
    Discard(discard::Discard),
}

impl Dead {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        match self {
            Self::List(list) => list.run(contract, screen).await.map(|()| ExitCode::SUCCESS),
            Self::Show(show) => show.run(contract, screen).await.map(|()| ExitCode::SUCCESS),
            Self::Redrive(redrive) => redrive.run(contract, screen).await,
            Self::Discard(discard) => discard.run(contract, screen).await,
        }
    }
}

/// The id of a letter on the command line.
fn letter_id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "no id of a letter; millrace dead list shows them")
}

/// What a terminal would obey is not printed.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
