//! `millrace erasures`: what was erased stays erased, also in a system that is restored from a backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::db::ContextKey;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::compliance::log_lines;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// The action of a line that says that somebody was erased.
const EXECUTED: &str = "erasure.executed";
/// Kind of target in audit lines.
const SUBJECT: &str = "subject";

const APPLY_EXAMPLE: &str = "Example: millrace erasures apply --log /mnt/copy/audit\n\
    Run it after a restore, before any worker or ingress starts. The erasure list is the audit log itself, which no restore of \
    the database takes back: its lines erasure.executed name pseudonyms, and the restored mapping says whose they are. \
    Whoever is found is erased again, with a tombstone, each in a transaction of its own with its audit line; run again, \
    it finds nobody.";

#[derive(Debug, Subcommand)]
pub(crate) enum Erasures {
    /// Erase again whom the audit log says was erased, in a database that was restored.
    #[command(after_help = APPLY_EXAMPLE)]
    Apply(Apply),
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The audit log's folder, or a copy of it [default: compliance.audit_log_path]
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

type Erased = (TenantId, Uuid);

impl Erasures {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Apply(apply) => apply.run(contract, screen).await,
        }
    }
}

impl Apply {
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let erased = erased_in(self.log.as_deref().unwrap_or(&config.compliance.audit_log_path))?;
        let key = config.database.context_key.as_ref().map(ContextKey::new);
        let key = key.ok_or_else(|| Usage("database.context_key is missing".to_owned()))?;
        let mut again = 0_u64;
        for (org, pseudonym) in &erased {
            let mut act = self.operator.act(&contract, &config).await?;
            act.enter(org, &key).await?;
            let Some(rows) = erase(act.conn(), org, *pseudonym).await? else { continue };
            let metadata = Map::from_iter([("pseudonym".to_owned(), pseudonym.to_string().into())]);
            act.commit(org, "erasures.apply", (SUBJECT, &pseudonym.to_string()), metadata).await?;
            again += 1;
            let facts = json!({ "org_id": org.as_str(), "pseudonym": pseudonym, "erased": rows });
            screen.row(&format!("{org} {pseudonym}: erased again"), &facts);
        }
        let text = format!("{} erasures in the log, {again} of them applied again", erased.len());
        screen.done(&text, json!({ "erasures": erased.len(), "applied": again }));
        Ok(())
    }
}

/// Whom the log says was erased, in all of its segments, closed ones included.
fn erased_in(log: &Path) -> Result<BTreeSet<Erased>, CommandFault> {
    let mut erased = BTreeSet::new();
    let mut nameless = 0_u64;
    let seen = log_lines::read(log, |_, line| {
        if line.action != EXECUTED || line.outcome != "applied" {
            return;
        }
        match TenantId::parse(&line.org_id).ok().zip(Uuid::parse_str(&line.resource_id).ok()) {
            Some(one) => drop(erased.insert(one)),
            None => nameless += 1,
        }
    })?;
    match seen.unreadable + nameless {
        0 => Ok(erased),
        foreign => {
            let advice = format!(
                "{foreign} lines of {} are none of ours: millrace audit verify says which; nothing was changed",
                log.display()
            );
            Err(Usage(advice).into())
        }
    }
}

/// Erases whom a pseudonym stands for; `None` when its mapping is gone already.
async fn erase(connection: &mut sqlx::PgConnection, org: &TenantId, pseudonym: Uuid) -> sqlx::Result<Option<Value>> {
    let person = sqlx::query_scalar!(
        "SELECT subject FROM app.subjects WHERE org_id = $1 AND pseudonym = $2",
        org.as_str(),
        pseudonym
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(person) = person else { return Ok(None) };
    sqlx::query!(
        "UPDATE app.erasures SET state = 'executed', subject = NULL, settled_at = now() WHERE org_id = $1 AND subject = $2",
        org.as_str(),
        person,
    )
    .execute(&mut *connection)
    .await?;
    let rows =
        sqlx::query_scalar!(r#"SELECT app.erase_person($1, true) AS "rows!""#, person).fetch_one(connection).await?;
    Ok(Some(rows))
}
