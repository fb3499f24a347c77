//! `millrace hold`: a legal hold suspends a tenant's erasures, and nothing else. The tenant's lines are pinned beside the log by
//! `millrace audit export`, so that segments can expire as ever.

use clap::{Args, Subcommand};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId, Timestamp};
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
    legal_hold, planned ones wait until the last hold is released. Nobody's access changes.\n\
    Then pin the evidence, which outlives the log's segments: \
    millrace audit export --org org_2abC --log /var/lib/millrace/audit --key-file log.key --out ./2026-LIT-017";
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
    /// Show the holds that are in force, oldest first.
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
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
            Self::List(list) => list.run(contract, screen).await,
        }
    }
}

impl List {
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let holds = sqlx::query!(
            "SELECT org_id, matter, placed_by, placed_at FROM engine.holds WHERE released_at IS NULL ORDER BY placed_at"
        )
        .fetch_all(act.conn())
        .await?;
        let metadata = Map::from_iter([("shown".to_owned(), holds.len().into())]);
        act.commit(&TenantId::operator(), "hold.list", (HOLD, "-"), metadata).await?;
        for hold in holds {
            let placed = Timestamp::new(hold.placed_at).to_string();
            let text = format!("{}  {}  {placed}  {}", hold.org_id, hold.matter, hold.placed_by);
            let facts = json!({
                "org_id": hold.org_id, "matter": hold.matter, "placed_at": placed, "placed_by": hold.placed_by,
            });
            screen.row(&text, &facts);
        }
        Ok(())
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
        let (id, operator) = (Uuid::now_v7(), act.operator().to_owned());
        let placed = sqlx::query!(
            "INSERT INTO engine.holds (org_id, id, matter, placed_by) VALUES ($1, $2, $3, $4)
             ON CONFLICT (org_id, matter) WHERE released_at IS NULL DO NOTHING",
            org.as_str(),
            id,
            self.matter,
            operator,
        )
        .execute(act.conn())
        .await?;
        let facts = json!({ "org_id": org.as_str(), "matter": self.matter, "placed": placed.rows_affected() == 1 });
        if placed.rows_affected() == 0 {
            screen.done(&format!("{org} is held for {} already", self.matter), facts);
            return Ok(());
        }
        let metadata = Map::from_iter([("matter".to_owned(), self.matter.clone().into())]);
        act.commit(&org, "hold.place", (HOLD, &id.to_string()), metadata).await?;
        screen.done(&format!("erasures of {org} are suspended for {}", self.matter), facts);
        Ok(())
    }

    async fn release(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.org()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let operator = act.operator().to_owned();
        let released = sqlx::query_scalar!(
            "UPDATE engine.holds SET released_by = $3, released_at = now()
             WHERE org_id = $1 AND matter = $2 AND released_at IS NULL RETURNING id",
            org.as_str(),
            self.matter,
            operator,
        )
        .fetch_optional(act.conn())
        .await?;
        let Some(id) = released else {
            return Err(Usage(format!("{org} is not held for {}", self.matter)).into());
        };
        // What another hold still suspends waits again, uncounted.
        let woken = sqlx::query_scalar!(r#"SELECT engine.wake($1) AS "woken!""#, WAITING).fetch_one(act.conn()).await?;
        let metadata =
            Map::from_iter([("matter".to_owned(), self.matter.clone().into()), ("released".to_owned(), woken.into())]);
        act.commit(&org, "hold.release", (HOLD, &id.to_string()), metadata).await?;
        let facts = json!({ "org_id": org.as_str(), "matter": self.matter, "released": woken });
        screen.done(&format!("the hold {} of {org} is released", self.matter), facts);
        Ok(())
    }
}
