//! `millrace erasures`: what was erased stays erased, also in a system that is restored from a backup.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::db::ContextKey;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// The action of a line that says that somebody was erased.
const EXECUTED: &str = "erasure.executed";
/// Kind of target in audit lines.
const SUBJECT: &str = "subject";

const APPLY_EXAMPLE: &str = "Examples:
  millrace erasures apply audit/seg/*.jsonl
  zstdcat audit/seg/*.jsonl.zst | millrace erasures apply -
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
    /// Files with lines of the audit log; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    lines: Vec<PathBuf>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// What an erasure needs of an audit line; the rest may be of a newer build.
#[derive(Deserialize)]
struct Line {
    org_id: String,
    action: String,
    outcome: String,
    resource_id: String,
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
        let mut erased = BTreeSet::new();
        for path in &self.lines {
            read(path, &mut erased)?;
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
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

fn read(path: &Path, erased: &mut BTreeSet<Erased>) -> Result<(), CommandFault> {
    let file: Box<dyn BufRead> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(BufReader::new(
            File::open(path).map_err(|fault| Usage(format!("cannot read {}: {fault}", path.display())))?,
        )),
    };
    for (number, line) in file.lines().enumerate() {
        let text = line?;
        let place = || format!("{}, line {}", path.display(), number + 1);
        let line: Line = serde_json::from_str(&text)
            .map_err(|_| Usage(format!("{} is no line of the audit log; nothing was changed", place())))?;
        if line.action != EXECUTED || line.outcome != "applied" {
            continue;
        }
        let named = TenantId::parse(&line.org_id).ok().zip(Uuid::parse_str(&line.resource_id).ok());
        erased.insert(named.ok_or_else(|| Usage(format!("{} names nobody; nothing was changed", place())))?);
    }
    Ok(())
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
