//! `millrace hold`: a legal hold suspends a tenant's erasures, and nothing else. The tenant's lines are pinned in a bundle of
//! their own, so that segments can expire as ever.

mod evidence;

use clap::{Args, Subcommand};
use millrace::config::{Config, Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId, Timestamp};
use millrace::pipeline::OperatorAct;
use serde_json::{Map, json};
use uuid::Uuid;

use self::evidence::{Evidence, folder_name};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// Kind of target in audit lines.
const HOLD: &str = "legal_hold";
/// What waits for the end of a hold is parked under this reason.
const WAITING: &str = "legal_hold";
const LONGEST_MATTER: usize = 64;

const PLACE_EXAMPLE: &str = "Example: millrace hold place org_2abC --matter 2026-LIT-017 --evidence /srv/holds\n\
    The matter is the reference of a file, no words about it: it stands in the audit log. New erasures are rejected with \
    legal_hold, planned ones wait until the last hold is released, and one that is executed in steps stops before the next. \
    Nobody's access changes.\n\
    The tenant's audit lines are pinned with their proofs in /srv/holds/hold-ID, which outlives the log's segments; \
    millrace audit verify takes it, and the audit log has the hash of its manifest. What could not be pinned is pinned when \
    the command is run again.";
const RELEASE_EXAMPLE: &str = "Example: millrace hold release org_2abC --matter 2026-LIT-017\n\
    Erasures that waited for it are executed, unless another hold remains. The evidence stays where it is.";

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Suspend a tenant's erasures.
    #[command(after_help = PLACE_EXAMPLE)]
    Place(Place),
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
pub(crate) struct Place {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    evidence: Evidence,
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
            Self::Place(place) => place.run(contract, screen).await,
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
            "SELECT org_id, id, matter, placed_by, placed_at, evidence_sha256, evidence_lines FROM engine.holds
             WHERE released_at IS NULL ORDER BY placed_at"
        )
        .fetch_all(act.conn())
        .await?;
        let metadata = Map::from_iter([("shown".to_owned(), holds.len().into())]);
        act.commit(&TenantId::operator(), "hold.list", (HOLD, "-"), metadata).await?;
        for hold in holds {
            let placed = Timestamp::new(hold.placed_at).to_string();
            let manifest = hold.evidence_sha256.map(hex::encode);
            let evidence = manifest.as_ref().map(|_| folder_name(hold.id));
            let shown = match (&evidence, &manifest) {
                (Some(folder), Some(manifest)) => format!("{folder}, manifest {manifest}"),
                _ => "no evidence pinned".to_owned(),
            };
            let text = format!("{}  {}  {placed}  {}  {shown}", hold.org_id, hold.matter, hold.placed_by);
            let facts = json!({
                "org_id": hold.org_id, "matter": hold.matter, "placed_at": placed, "placed_by": hold.placed_by,
                "evidence": evidence, "manifest_sha256": manifest, "lines": hold.evidence_lines,
            });
            screen.row(&text, &facts);
        }
        Ok(())
    }
}

impl Place {
    /// The hold comes first and its evidence after it: while lines are read and proved no erasure goes on.
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.target.org()?;
        let (contract, config) = start(contract, &self.target.config.path(), Process::Operator)?;
        let hold = self.place(&org, &contract, &config, screen).await?;
        let Some(below) = self.evidence.folder(&config.compliance) else {
            screen
                .warn("no evidence is pinned: run it again with --evidence DIR, or set compliance.hold_evidence_path");
            return Ok(());
        };
        if hold.pinned {
            screen.step(&format!("its evidence is pinned already, as {}", folder_name(hold.id)));
            return Ok(());
        }
        let pinned = self.evidence.pin(below, &config.compliance, (&org, hold.id)).inspect_err(|_| {
            screen
                .warn("the hold is in force; its evidence is not pinned yet: put right what follows and run it again");
        })?;
        let mut act = self.target.operator.act(&contract, &config).await?;
        let lines = i64::try_from(pinned.lines)?;
        sqlx::query!(
            "UPDATE engine.holds SET evidence_sha256 = $3, evidence_lines = $4, pinned_at = now()
             WHERE org_id = $1 AND id = $2",
            org.as_str(),
            hold.id,
            &pinned.manifest[..],
            lines,
        )
        .execute(act.conn())
        .await?;
        let manifest = hex::encode(pinned.manifest);
        let metadata = Map::from_iter([
            ("matter".to_owned(), self.target.matter.clone().into()),
            ("manifest_sha256".to_owned(), manifest.clone().into()),
            ("lines".to_owned(), lines.into()),
        ]);
        act.commit(&org, "hold.pin", (HOLD, &hold.id.to_string()), metadata).await?;
        let folder = pinned.folder.display().to_string();
        let text = format!("{lines} lines are pinned in {folder}; manifest {manifest}; millrace audit verify takes it");
        screen.done(&text, json!({ "evidence": folder, "manifest_sha256": manifest, "lines": lines }));
        Ok(())
    }

    /// In the tenant's turn: an erasure that is being executed is over first, and each later one sees the hold.
    async fn place(
        &self,
        org: &TenantId,
        contract: &CheckedContract,
        config: &Config,
        screen: &Screen,
    ) -> Result<Held, CommandFault> {
        let matter = &self.target.matter;
        let mut act = self.target.operator.act(contract, config).await?;
        act.take_turn(org).await?;
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
            matter,
            operator,
        )
        .execute(act.conn())
        .await?;
        let placed = placed.rows_affected() == 1;
        let facts = json!({ "org_id": org.as_str(), "matter": matter, "placed": placed });
        if !placed {
            screen.done(&format!("{org} is held for {matter} already"), facts);
            return Ok(held(&mut act, org, matter).await?);
        }
        let state = erasing(&mut act, org).await?;
        let metadata = Map::from_iter([("matter".to_owned(), matter.clone().into())]);
        act.commit(org, "hold.place", (HOLD, &id.to_string()), metadata).await?;
        screen.done(&format!("erasures of {org} are suspended for {matter}{state}"), facts);
        Ok(Held { id, pinned: false })
    }
}

/// A hold in force.
struct Held {
    id: Uuid,
    pinned: bool,
}

async fn held(act: &mut OperatorAct, org: &TenantId, matter: &str) -> sqlx::Result<Held> {
    let row = sqlx::query!(
        r#"SELECT id, pinned_at IS NOT NULL AS "pinned!" FROM engine.holds
           WHERE org_id = $1 AND matter = $2 AND released_at IS NULL"#,
        org.as_str(),
        matter
    )
    .fetch_one(act.conn())
    .await?;
    Ok(Held { id: row.id, pinned: row.pinned })
}

/// What the hold stops, in words.
async fn erasing(act: &mut OperatorAct, org: &TenantId) -> sqlx::Result<&'static str> {
    let states = sqlx::query_scalar!(
        "SELECT DISTINCT state FROM app.erasures WHERE org_id = $1 AND state IN ('planned', 'executing')",
        org.as_str()
    )
    .fetch_all(act.conn())
    .await?;
    Ok(match (states.iter().any(|state| state == "executing"), states.is_empty()) {
        (true, _) => "; the tenant's own erasure had begun: what is gone is gone, what is left stays until the release",
        (false, false) => "; erasures that are planned wait for the release",
        (false, true) => "",
    })
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

    async fn release(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.org()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let operator = act.operator().to_owned();
        let released = sqlx::query!(
            "UPDATE engine.holds SET released_by = $3, released_at = now()
             WHERE org_id = $1 AND matter = $2 AND released_at IS NULL RETURNING id, evidence_sha256",
            org.as_str(),
            self.matter,
            operator,
        )
        .fetch_optional(act.conn())
        .await?;
        let Some(released) = released else {
            return Err(Usage(format!("{org} is not held for {}", self.matter)).into());
        };
        // What another hold still suspends waits again, uncounted.
        let woken = sqlx::query_scalar!(r#"SELECT engine.wake($1) AS "woken!""#, WAITING).fetch_one(act.conn()).await?;
        let metadata =
            Map::from_iter([("matter".to_owned(), self.matter.clone().into()), ("released".to_owned(), woken.into())]);
        act.commit(&org, "hold.release", (HOLD, &released.id.to_string()), metadata).await?;
        let evidence = released.evidence_sha256.map(|manifest| (folder_name(released.id), hex::encode(manifest)));
        let facts = json!({ "org_id": org.as_str(), "matter": self.matter, "released": woken,
            "evidence": evidence.as_ref().map(|(folder, _)| folder) });
        let rest = evidence.map_or_else(String::new, |(folder, manifest)| {
            format!(
                "; its evidence {folder} (manifest {manifest}) stays: delete it when the matter is closed for good, and not \
                 before whoever asked for it says so"
            )
        });
        screen.done(&format!("the hold {} of {org} is released{rest}", self.matter), facts);
        Ok(())
    }
}
