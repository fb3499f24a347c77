//! `millrace hold`: a legal hold suspends a tenant's erasures, and nothing else. `millrace audit hold` does the same, and also
//! says which lines of the log it is for.

use clap::{Args, Subcommand};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::OperatorAct;
use serde_json::{Map, json};
use uuid::Uuid;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// Kind of target in audit lines.
const HOLD: &str = "legal_hold";
/// What waits for the end of a hold is parked under this reason.
const WAITING: &str = "legal_hold";
const LONGEST_MATTER: usize = 64;

const PLACE_EXAMPLE: &str = "Example: millrace hold place org_2abC --matter 2026-LIT-017\n\
    The matter is the reference of a file, no words about it: it stands in the audit log. New erasures are rejected with \
    legal_hold, planned ones wait until the last hold is released. Nobody's access changes.";
const RELEASE_EXAMPLE: &str = "Example: millrace hold release org_2abC --matter 2026-LIT-017\n\
    Erasures that waited for it are executed, unless another hold remains.";

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Suspend a tenant's erasures.
    #[command(after_help = PLACE_EXAMPLE)]
    Place(Target),
    /// End a hold; erasures that waited go on.
    #[command(after_help = RELEASE_EXAMPLE)]
    Release(Target),
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The tenant.
    org_id: String,
    /// Reference of the file that asks for it: 1 to 64 of A-Z a-z 0-9 . _ / -
    #[arg(long, value_name = "REFERENCE")]
    matter: String,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Hold {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Place(target) => target.place(contract, screen).await,
            Self::Release(target) => target.release(contract, screen).await,
        }
    }
}

impl Target {
    fn org(&self) -> Result<TenantId, Usage> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        let matter = &self.matter;
        if matter.is_empty() || matter.len() > LONGEST_MATTER || !matter.bytes().all(fits) {
            return Err(Usage(format!("{matter:?} is no reference: use 1 to {LONGEST_MATTER} of A-Z a-z 0-9 . _ / -")));
        }
        TenantId::parse(&self.org_id).map_err(|fault| Usage(fault.to_string()))
    }

    async fn place(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.org()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let known = sqlx::query_scalar!("SELECT state FROM app.tenants WHERE org_id = $1 FOR SHARE", org.as_str())
            .fetch_optional(act.conn())
            .await?;
        if known.is_none() {
            return Err(Usage(format!("there is no tenant {org}: millrace tenants list shows those there are")).into());
        }
        let placed = suspend(&mut act, &org, &self.matter).await?;
        let facts = json!({ "org_id": org.as_str(), "matter": self.matter, "placed": placed.is_some() });
        let Some(id) = placed else {
            screen.done(&format!("{org} is held for {} already", self.matter), facts);
            return Ok(());
        };
        let metadata = Map::from_iter([("matter".to_owned(), self.matter.clone().into())]);
        act.commit(&org, "hold.place", (HOLD, &id.to_string()), metadata).await?;
        screen.done(&format!("erasures of {org} are suspended for {}", self.matter), facts);
        Ok(())
    }

    async fn release(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.org()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let Some((id, woken)) = resume(&mut act, &org, &self.matter).await? else {
            return Err(Usage(format!("{org} is not held for {}", self.matter)).into());
        };
        let metadata =
            Map::from_iter([("matter".to_owned(), self.matter.clone().into()), ("released".to_owned(), woken.into())]);
        act.commit(&org, "hold.release", (HOLD, &id.to_string()), metadata).await?;
        let facts = json!({ "org_id": org.as_str(), "matter": self.matter, "released": woken });
        screen.done(&format!("the hold {} of {org} is released", self.matter), facts);
        Ok(())
    }
}

/// Suspends a tenant's erasures in this act; `None` when it is held for this already.
pub(crate) async fn suspend(act: &mut OperatorAct, org: &TenantId, matter: &str) -> sqlx::Result<Option<Uuid>> {
    let (id, operator) = (Uuid::now_v7(), act.operator().to_owned());
    let placed = sqlx::query!(
        "INSERT INTO engine.holds (org_id, id, matter, placed_by) VALUES ($1, $2, $3, $4)
             ON CONFLICT (org_id, matter) WHERE released_at IS NULL DO NOTHING",
        org.as_str(),
        id,
        matter,
        operator,
    )
    .execute(act.conn())
    .await?;
    Ok((placed.rows_affected() == 1).then_some(id))
}

/// Ends a hold in this act, and wakes what waited for it; `None` when there is none.
pub(crate) async fn resume(act: &mut OperatorAct, org: &TenantId, matter: &str) -> sqlx::Result<Option<(Uuid, u64)>> {
    let operator = act.operator().to_owned();
    let released = sqlx::query_scalar!(
        "UPDATE engine.holds SET released_by = $3, released_at = now()
             WHERE org_id = $1 AND matter = $2 AND released_at IS NULL RETURNING id",
        org.as_str(),
        matter,
        operator,
    )
    .fetch_optional(act.conn())
    .await?;
    let Some(id) = released else { return Ok(None) };
    // What another hold still suspends waits again, uncounted.
    let woken =
        sqlx::query!("UPDATE engine.parked SET not_before = now() WHERE reason = $1 AND not_before > now()", WAITING)
            .execute(act.conn())
            .await?;
    Ok(Some((id, woken.rows_affected())))
}
