//! `millrace tenants suspend`, `resume` and `close`: the same ways from state to state as the commands have.

use std::io::{BufRead, IsTerminal, Read, Write};

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use serde_json::{Map, json};

use super::{TENANT, tenant};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const SUSPEND_EXAMPLE: &str = "Example: millrace tenants suspend org_2abC\n\
    Only an active tenant is suspended; millrace tenants resume is the way back.";
pub(super) const RESUME_EXAMPLE: &str = "Example: millrace tenants resume org_2abC\n\
    What the tenant owes still bounds its access.";
pub(super) const CLOSE_EXAMPLE: &str = "Example: millrace tenants close org_2abC --yes\n\
    There is no way back. Without --yes you type the tenant's id to confirm, which takes a terminal.";

/// Longest confirmation that is read: more than any id has.
const LONGEST_ANSWER: u64 = 256;

#[derive(Debug, Args)]
pub(crate) struct Suspend {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Close {
    #[command(flatten)]
    target: Target,
    /// Close without asking.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Target {
    /// The tenant.
    org_id: String,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// One way from state to state.
struct Transition {
    action: &'static str,
    from: &'static [&'static str],
    to: &'static str,
}

const SUSPEND: Transition = Transition { action: "tenants.suspend", from: &["active"], to: "suspended" };
const RESUME: Transition = Transition { action: "tenants.resume", from: &["suspended"], to: "active" };
const CLOSE: Transition = Transition { action: "tenants.close", from: &["active", "suspended"], to: "closed" };

impl Suspend {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        self.target.change(&SUSPEND, contract, screen).await
    }
}

impl Resume {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        self.target.change(&RESUME, contract, screen).await
    }
}

impl Close {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        if !self.yes {
            confirm(&tenant(&self.target.org_id)?)?;
        }
        self.target.change(&CLOSE, contract, screen).await
    }
}

/// Asks for the id, before a transaction begins: people take their time.
fn confirm(org: &TenantId) -> Result<(), CommandFault> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Usage(format!("closing {org} is final: say --yes to close it without a terminal")).into());
    }
    write!(std::io::stderr(), "Closing {org} is final. Type its id to close it: ")?;
    let mut answer = String::new();
    stdin.lock().take(LONGEST_ANSWER).read_line(&mut answer)?;
    if answer.trim() == org.as_str() {
        Ok(())
    } else {
        Err(Usage("not confirmed; nothing was changed".to_owned()).into())
    }
}

impl Target {
    async fn change(&self, way: &Transition, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = tenant(&self.org_id)?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let state = sqlx::query_scalar!("SELECT state FROM app.tenants WHERE org_id = $1 FOR UPDATE", org.as_str())
            .fetch_optional(act.conn())
            .await?;
        let Some(from) = state else {
            return Err(Usage(format!("there is no tenant {org}: millrace tenants list shows those there are")).into());
        };
        if !way.from.contains(&from.as_str()) {
            return Err(Usage(advice(&org, &from)).into());
        }
        sqlx::query!(
            "UPDATE app.tenants SET state = $2, closed_at = CASE WHEN $2 = 'closed' THEN now() END WHERE org_id = $1",
            org.as_str(),
            way.to
        )
        .execute(act.conn())
        .await?;
        let metadata = Map::from_iter([("from".to_owned(), from.clone().into())]);
        act.commit(&org, way.action, (TENANT, org.as_str()), metadata).await?;
        let facts = json!({ "org_id": org.as_str(), "from": from, "state": way.to });
        screen.done(&format!("tenant {org} is {} now; it was {from}", way.to), facts);
        Ok(())
    }
}

/// What is to be done with a tenant whose state does not admit the transition.
fn advice(org: &TenantId, state: &str) -> String {
    match state {
        "active" => format!(
            "{org} is active, not suspended; if its commands are refused, look at its access level: \
            millrace tenants list"
        ),
        "suspended" => format!("{org} is suspended already; millrace tenants resume {org} ends that"),
        _ => format!("{org} is closed, which is final; make a new tenant under another id"),
    }
}
