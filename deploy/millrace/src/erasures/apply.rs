//! `millrace erasures apply`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use millrace::config::{Config, Process, start};
use millrace::contract::payloads::ErasureStage;
use millrace::contract::{CheckedContract, Contract, TenantId};
use millrace::db::ContextKey;
use millrace::pipeline::OperatorAct;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::leave;
use super::logged::{Hold, Logged};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// Kinds of target in audit lines.
const SUBJECT: &str = "subject";
const TENANT: &str = "tenant";
const HOLD: &str = "legal_hold";
/// Most rows of a tenant that go in one transaction.
const STEP_ROWS: i64 = 10_000;
/// Some of what the log says is not done, for a reason that was told.
const LEFT: u8 = 65;

pub(super) const EXAMPLE: &str = "Example: millrace erasures apply --log /mnt/copy/audit\n\
    Run it after a restore, before any worker or ingress starts. The erasure list is the audit log itself, which no restore of \
    the database takes back: its lines erasure.executed name pseudonyms and tombstones. The restored mapping says whose \
    pseudonyms they are; who has none there is found by the tombstone, a keyed tag that only the person's id makes. \
    Whoever is found is erased again, each in a transaction of its own with its audit line; tenants are erased \
    step by step. Run again, it finds nobody.\n\
    Holds that the log knows and the backup does not are placed again first. People of a tenant that is held are denied and \
    kept; then it ends with 65: run it again when the hold is released.";

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

/// One run.
struct Run<'a> {
    apply: &'a Apply,
    contract: CheckedContract,
    config: Config,
    key: ContextKey,
    screen: &'a Screen,
    again: u64,
    held: u64,
    unknown: u64,
}

impl Apply {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let logged = Logged::read(self.log.as_deref().unwrap_or(&config.compliance.audit_log_path))?;
        let key = config.database.context_key.as_ref().map(ContextKey::new);
        let key = key.ok_or_else(|| Usage("database.context_key is missing".to_owned()))?;
        let mut run = Run { apply: self, contract, config, key, screen, again: 0, held: 0, unknown: 0 };
        for (id, hold) in &logged.holds {
            run.hold_again(*id, hold).await?;
        }
        for org in &logged.orgs {
            run.erase_org(org).await?;
        }
        for (org, people) in &logged.people {
            run.erase_people(org, people).await?;
        }
        Ok(run.end(&logged))
    }
}

impl Run<'_> {
    async fn act(&self) -> Result<OperatorAct, CommandFault> {
        self.apply.operator.act(&self.contract, &self.config).await
    }

    fn end(&self, logged: &Logged) -> ExitCode {
        let (all, again, held, unknown) = (logged.erasures(), self.again, self.held, self.unknown);
        let mut text = format!("{all} erasures in the log, {again} of them applied again");
        if held > 0 {
            text += &format!(", {held} held: release the holds (millrace hold list) and run it again");
        }
        if unknown > 0 {
            text += &format!(
                "; {unknown} lines of an older build have no tombstone and no mapping here: nobody can be found by them"
            );
        }
        let facts = json!({ "erasures": all, "applied": again, "held": held, "unmatched": unknown });
        self.screen.done(&text, facts);
        if held > 0 { ExitCode::from(LEFT) } else { ExitCode::SUCCESS }
    }

    /// Places a hold that is younger than the backup.
    async fn hold_again(&self, id: Uuid, hold: &Hold) -> Result<(), CommandFault> {
        let mut act = self.act().await?;
        let placed = sqlx::query!(
            "INSERT INTO engine.holds (org_id, id, matter, placed_by, placed_at)
             SELECT t.org_id, $2::uuid, $3::text, $4::text, $5::timestamptz FROM app.tenants t WHERE t.org_id = $1
             ON CONFLICT DO NOTHING",
            hold.org.as_str(),
            id,
            hold.matter,
            hold.placed_by,
            hold.placed_at.moment(),
        )
        .execute(act.conn())
        .await?;
        if placed.rows_affected() == 0 {
            return Ok(());
        }
        let metadata = Map::from_iter([("matter".to_owned(), hold.matter.clone().into())]);
        act.commit(&hold.org, "hold.restore", (HOLD, &id.to_string()), metadata).await?;
        let facts = json!({ "org_id": hold.org.as_str(), "matter": hold.matter, "held": true });
        self.screen.row(&format!("{}: held again for {}", hold.org, hold.matter), &facts);
        Ok(())
    }

    /// Erases a tenant to the end, step by step; one that the backup does not know gets its tombstone all the same.
    async fn erase_org(&mut self, org: &TenantId) -> Result<(), CommandFault> {
        let (mut rows, mut applied) = (0_u64, false);
        loop {
            let mut act = self.act().await?;
            act.enter(org, &self.key).await?;
            if is_held(&mut act, org).await? {
                self.held += 1;
                self.screen.row(&format!("{org}: held, nothing was erased"), &json!({ "org_id": org.as_str() }));
                return Ok(());
            }
            let placed = entomb(&mut act, org).await?;
            let step = sqlx::query_scalar!(r#"SELECT app.erase_org($1, $2) AS "step!""#, STEP_ROWS, placed)
                .fetch_one(act.conn())
                .await?;
            let gone =
                step["erased"].as_object().into_iter().flatten().filter_map(|(_, rows)| rows.as_u64()).sum::<u64>();
            if !placed && gone == 0 {
                break;
            }
            (rows, applied) = (rows + gone, true);
            certify(&mut act, org).await?;
            let metadata = Map::from_iter([("rows".to_owned(), gone.into())]);
            act.commit(org, "erasures.apply", (TENANT, org.as_str()), metadata).await?;
            if step["more"] == Value::Bool(false) {
                break;
            }
        }
        if applied {
            self.again += 1;
            self.screen
                .row(&format!("{org}: {rows} rows erased again"), &json!({ "org_id": org.as_str(), "rows": rows }));
        }
        Ok(())
    }

    /// Erases people of one tenant, whoever of them is found.
    async fn erase_people(
        &mut self,
        org: &TenantId,
        people: &BTreeMap<Uuid, Option<Vec<u8>>>,
    ) -> Result<(), CommandFault> {
        let mut act = self.act().await?;
        act.enter(org, &self.key).await?;
        let held = is_held(&mut act, org).await?;
        let found = find(&mut act, org, people).await?;
        let met: BTreeSet<Uuid> = found.values().copied().collect();
        self.unknown += people.iter().filter(|(id, tag)| tag.is_none() && !met.contains(id)).count() as u64;
        drop(act);
        for (person, pseudonym) in found {
            let mut act = self.act().await?;
            act.enter(org, &self.key).await?;
            let metadata = Map::from_iter([("pseudonym".to_owned(), pseudonym.to_string().into())]);
            let name = pseudonym.to_string();
            let target = (SUBJECT, name.as_str());
            if held {
                deny(&mut act, org, &person).await?;
                act.commit(org, "erasures.deny", target, metadata).await?;
                self.held += 1;
                let facts = json!({ "org_id": org.as_str(), "pseudonym": pseudonym, "held": true });
                self.screen.row(&format!("{org} {pseudonym}: held; denied, and kept"), &facts);
                continue;
            }
            let rows = erase(&mut act, org, &person).await?;
            act.commit(org, "erasures.apply", target, metadata).await?;
            self.again += 1;
            let facts = json!({ "org_id": org.as_str(), "pseudonym": pseudonym, "erased": rows });
            self.screen.row(&format!("{org} {pseudonym}: erased again"), &facts);
        }
        Ok(())
    }
}

/// People by their id, with the pseudonym of their erasure: by the restored mapping, else by the tag that their id makes.
async fn find(
    act: &mut OperatorAct,
    org: &TenantId,
    people: &BTreeMap<Uuid, Option<Vec<u8>>>,
) -> sqlx::Result<BTreeMap<String, Uuid>> {
    let pseudonyms: Vec<Uuid> = people.keys().copied().collect();
    let mapped = sqlx::query!(
        "SELECT subject, pseudonym FROM app.subjects WHERE org_id = $1 AND pseudonym = ANY($2)",
        org.as_str(),
        &pseudonyms,
    )
    .fetch_all(act.conn())
    .await?;
    let by_tag: BTreeMap<&[u8], Uuid> =
        people.iter().filter_map(|(pseudonym, tag)| Some((tag.as_deref()?, *pseudonym))).collect();
    let tags: Vec<Vec<u8>> = by_tag.keys().map(|tag| tag.to_vec()).collect();
    let tagged = sqlx::query!(r#"SELECT person AS "person!", tag AS "tag!" FROM app.people_tagged($1)"#, &tags)
        .fetch_all(act.conn())
        .await?;
    let tagged = tagged.into_iter().filter_map(|row| Some((row.person, *by_tag.get(row.tag.as_slice())?)));
    Ok(tagged.chain(mapped.into_iter().map(|row| (row.subject, row.pseudonym))).collect())
}

async fn is_held(act: &mut OperatorAct, org: &TenantId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM engine.holds WHERE org_id = $1 AND released_at IS NULL) AS "held!""#,
        org.as_str()
    )
    .fetch_one(act.conn())
    .await
}

/// Places the tenant's tombstone; false when it is there.
async fn entomb(act: &mut OperatorAct, org: &TenantId) -> sqlx::Result<bool> {
    let placed = sqlx::query!(
        "INSERT INTO app.tenants AS t (org_id, name, state, closed_at, erased_at) VALUES ($1, 'erased', 'closed', now(), now())
         ON CONFLICT (org_id) DO UPDATE SET name = 'erased', state = 'closed', closed_at = coalesce(t.closed_at, now()),
           erased_at = now() WHERE t.erased_at IS NULL",
        org.as_str()
    )
    .execute(act.conn())
    .await?;
    sqlx::query!(
        "UPDATE app.erasures SET state = CASE scope WHEN 'org' THEN 'executing' ELSE 'executed' END,
           settled_at = CASE scope WHEN 'subject' THEN now() END, subject_tag = app.subject_tag(subject), subject = NULL
         WHERE org_id = $1 AND state = 'planned'",
        org.as_str()
    )
    .execute(act.conn())
    .await?;
    Ok(placed.rows_affected() == 1)
}

/// An erasure that the backup knows as unfinished gets its certificate from the worker.
async fn certify(act: &mut OperatorAct, org: &TenantId) -> Result<(), CommandFault> {
    let unfinished = sqlx::query_scalar!(
        "SELECT id FROM app.erasures WHERE org_id = $1 AND scope = 'org' AND state = 'executing'",
        org.as_str()
    )
    .fetch_optional(act.conn())
    .await?;
    match unfinished {
        Some(id) => leave(act, org, id, ErasureStage::Settle, OffsetDateTime::now_utc()).await,
        None => Ok(()),
    }
}

async fn deny(act: &mut OperatorAct, org: &TenantId, person: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO app.removed_members (org_id, subject) VALUES ($1, app.subject_tag($2)) ON CONFLICT DO NOTHING",
        org.as_str(),
        person
    )
    .execute(act.conn())
    .await?;
    Ok(())
}

async fn erase(act: &mut OperatorAct, org: &TenantId, person: &str) -> sqlx::Result<Value> {
    sqlx::query!(
        "UPDATE app.erasures SET state = 'executed', subject_tag = app.subject_tag(subject), subject = NULL,
           settled_at = now() WHERE org_id = $1 AND subject = $2",
        org.as_str(),
        person,
    )
    .execute(act.conn())
    .await?;
    sqlx::query_scalar!(r#"SELECT app.erase_person($1, true) AS "rows!""#, person).fetch_one(act.conn()).await
}
