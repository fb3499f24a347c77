//! `millrace billing`: what the provider knows and we may have missed. One command a file.

mod reconcile;
mod sync;

use std::process::ExitCode;

use clap::Subcommand;
use millrace::contract::Contract;

use crate::CommandFault;
use crate::screen::Screen;

/// Kind of target in audit lines.
const PROVIDER: &str = "provider";
/// Its name, in links and billing rows.
const STRIPE: &str = "stripe";
/// Exit code when something is not as it should be: `EX_DATAERR` of `sysexits.h`.
const NOT_ALL_WELL: u8 = 65;

const ABOUT: &str = r"After an outage: send what the provider could not deliver, then compare.
  millrace billing sync --undelivered --dry-run      what would be sent, by type
  millrace billing sync --undelivered                send it through the ingress, as the provider would
  millrace billing reconcile                         what the provider says, beside what we have
Both ask Stripe with billing.api.secret_key_file, a restricted key that may read events and subscriptions.
Both are audited under your name; a dry run, which asks Stripe alone, is not.
Exit codes: 0 done, 64 bad usage or configuration, 65 some events were refused, or something has drifted,
70 it failed on the way: the message says how to go on.";

#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT)]
pub(crate) enum Billing {
    /// Send the provider's events of the last days again; what was settled before is a duplicate.
    #[command(after_help = sync::EXAMPLE)]
    Sync(sync::Sync),
    /// Compare the provider's subscriptions with ours, and count what has drifted.
    #[command(after_help = reconcile::EXAMPLE)]
    Reconcile(reconcile::Reconcile),
}

impl Billing {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        match self {
            Self::Sync(sync) => sync.run(contract, screen).await,
            Self::Reconcile(reconcile) => reconcile.run(contract, screen).await,
        }
    }
}
