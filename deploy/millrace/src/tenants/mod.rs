//! `millrace tenants`: the operator's side of a tenant's life. One command a file.

mod create;
mod import;
mod link;
mod list;
mod plans;
mod state;

use clap::Subcommand;
use millrace::contract::{Contract, TenantId};

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

pub(crate) use create::create;
pub(crate) use link::Customer;

/// Kind of target in audit lines.
const TENANT: &str = "tenant";
/// Longest name, plan, provider or customer id that is taken, in bytes.
const LONGEST_TEXT: usize = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// Make a tenant; one that is there already stays as it is.
    #[command(after_help = create::EXAMPLE)]
    Create(create::Create),
    /// Make many tenants from a file of JSON lines, which is checked as a whole first.
    #[command(after_help = import::EXAMPLE)]
    Import(import::Import),
    /// Say which provider's customer a tenant is; messages that wait for it are released at once.
    #[command(after_help = link::EXAMPLE)]
    Link(link::Link),
    /// Hold a tenant's commands back, but those that stay open.
    #[command(after_help = state::SUSPEND_EXAMPLE)]
    Suspend(state::Suspend),
    /// End a suspension.
    #[command(after_help = state::RESUME_EXAMPLE)]
    Resume(state::Resume),
    /// Close a tenant for good; its rows stay for the law and the audit.
    #[command(after_help = state::CLOSE_EXAMPLE)]
    Close(state::Close),
    /// Show tenants in the order of their ids; that you looked is audited too.
    #[command(after_help = list::EXAMPLE)]
    List(list::List),
}

impl Tenants {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Create(create) => create.run(contract, screen).await,
            Self::Import(import) => import.run(contract, screen).await,
            Self::Link(link) => link.run(contract, screen).await,
            Self::Suspend(suspend) => suspend.run(contract, screen).await,
            Self::Resume(resume) => resume.run(contract, screen).await,
            Self::Close(close) => close.run(contract, screen).await,
            Self::List(list) => list.run(contract, screen).await,
        }
    }
}

pub(crate) fn tenant(text: &str) -> Result<TenantId, Usage> {
    let org = TenantId::parse(text).map_err(|fault| Usage(fault.to_string()))?;
    if org.is_operator() { Err(Usage(format!("{org} is reserved for the deployment itself"))) } else { Ok(org) }
}

/// Texts of a sane length that can be shown.
fn clean(what: &str, text: &str) -> Result<(), Usage> {
    if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(Usage(format!("{what} must be 1 to {LONGEST_TEXT} bytes without control characters")));
    }
    Ok(())
}

/// Releases what waits for a reason that may be gone now: the rest goes on waiting, uncounted.
async fn wake(connection: &mut sqlx::PgConnection, reason: &str) -> sqlx::Result<u64> {
    let woken = sqlx::query_scalar!(r#"SELECT engine.wake($1) AS "woken!""#, reason).fetch_one(connection).await?;
    Ok(woken.unsigned_abs())
}
