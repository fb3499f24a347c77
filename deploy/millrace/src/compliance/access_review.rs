//! `millrace access-review`: who may do what in each tenant, when they last did anything, and who seems to be gone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use millrace::auditlog::note::SigningKey;
use millrace::config::{Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::catalogue::{Subjects, subjects};
use super::log_lines::{self, Seen};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

const EXAMPLE: &str = "Example: millrace access-review --stale-after 90 --sign reviewer.key > review.note\n\
    Members are rows that a tenant's administrators made; a user without a row has the role that the token says, and is \
    listed when the audit log shows an act. Last use is the last line of the audit log on this host; reads leave no line.\n\
    That you looked is audited, and so is the SHA-256 of what you saw. --sign writes a signed note (C2SP) under a key \
    as the audit log's keys are written.";

/// Days without a line after which an account is called stale.
const STALE_AFTER: u16 = 90;
/// Kind of target in audit lines.
const TENANT: &str = "tenant";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct AccessReview {
    /// Only this tenant.
    #[arg(long)]
    org: Option<String>,
    /// Days without use after which an account is stale.
    #[arg(long, value_name = "DAYS", default_value_t = STALE_AFTER)]
    stale_after: u16,
    /// Sign the review with the private key in this file; the output is the signed note.
    #[arg(long, value_name = "KEY FILE")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// The whole review.
#[derive(Debug, Serialize)]
struct Review {
    deployment: String,
    reviewed_at: String,
    stale_after_days: u16,
    /// What last use was read from; null where the log is not on this host.
    log: Option<Value>,
    tenants: Vec<Tenant>,
}

#[derive(Debug, Serialize)]
struct Tenant {
    org_id: String,
    state: String,
    /// People who were removed and are denied whatever their token says.
    removed: i64,
    principals: Vec<Account>,
}

#[derive(Debug, Serialize)]
struct Account {
    principal: String,
    /// Null: what the token says.
    role: Option<String>,
    since: Option<String>,
    last_use: Option<String>,
    lines: u64,
    /// Null where last use is not known.
    stale: Option<bool>,
}

/// Acts of one principal of one tenant.
#[derive(Debug, Clone, Copy)]
struct Use {
    last: Timestamp,
    lines: u64,
}

/// By tenant and principal.
type Uses = BTreeMap<(String, String), Use>;

struct Row {
    org_id: String,
    state: String,
    removed: i64,
    user_id: Option<String>,
    role: Option<String>,
    created_at: Option<OffsetDateTime>,
}

impl AccessReview {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = self.org.as_deref().map(TenantId::parse).transpose().map_err(|fault| Usage(fault.to_string()))?;
        let key = self.sign.as_ref().map(signing_key).transpose()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let act = self.operator.act(&contract, &config).await?;
        let target = (TENANT, org.as_ref().map_or("*", TenantId::as_str));
        let facts = Map::from_iter([("stale_after_days".to_owned(), self.stale_after.into())]);
        let mut read = act.note(&TenantId::operator(), "access.review", target, facts)?.commit_then_read().await?;
        let rows = rows(read.conn(), org.as_ref()).await?;
        let subjects = subjects(read.conn()).await?;
        let log = uses(&config.compliance.audit_log_path, &subjects);
        if let Err(fault) = &log {
            screen.warn(&format!("last use is not known: {fault}"));
        }
        let now = OffsetDateTime::now_utc();
        let review = Review {
            deployment: config.deployment.clone(),
            reviewed_at: Timestamp::new(now).to_string(),
            stale_after_days: self.stale_after,
            log: log.as_ref().ok().map(|(_, seen)| span(seen)),
            tenants: tenants(rows, log.ok().map(|(uses, _)| uses), now - Duration::days(self.stale_after.into())),
        };
        let document = serde_json::to_string(&review)?;
        show(&review, &document, key.as_ref(), screen);
        self.record(&contract, &config, target, &document).await
    }

    /// What was seen is on record too, so that a review can be compared with the log later.
    async fn record(
        &self,
        contract: &CheckedContract,
        config: &millrace::config::Config,
        target: (&str, &str),
        document: &str,
    ) -> Result<(), CommandFault> {
        let digest = hex::encode(Sha256::digest(document));
        let facts = Map::from_iter([("sha256".to_owned(), digest.into())]);
        self.operator
            .act(contract, config)
            .await?
            .commit(&TenantId::operator(), "access.reviewed", target, facts)
            .await?;
        Ok(())
    }
}

fn signing_key(path: &PathBuf) -> Result<SigningKey, CommandFault> {
    let text =
        std::fs::read_to_string(path).map_err(|fault| Usage(format!("cannot read {}: {fault}", path.display())))?;
    SigningKey::parse(&text.into()).map_err(|fault| Usage(format!("{}: {fault}", path.display())).into())
}

/// Every tenant with its members, also those without any.
async fn rows(connection: &mut PgConnection, org: Option<&TenantId>) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT t.org_id, t.state, m.user_id AS "user_id?", m.role AS "role?", m.created_at AS "created_at?",
             (SELECT count(*) FROM app.removed_members r WHERE r.org_id = t.org_id) AS "removed!"
           FROM app.tenants t LEFT JOIN app.members m ON m.org_id = t.org_id
           WHERE $1::text IS NULL OR t.org_id = $1 ORDER BY t.org_id, m.user_id"#,
        org.map(TenantId::as_str),
    )
    .fetch_all(connection)
    .await
}

/// Who did something, people by their ids where the mapping still knows them.
fn uses(
    folder: &std::path::Path,
    subjects: &Subjects,
) -> Result<(Uses, Seen), millrace::auditlog::segments::SegmentFault> {
    let mut uses = Uses::new();
    let seen = log_lines::read(folder, |at, entry| {
        if !entry.actor_id.starts_with("user:") && !entry.actor_id.starts_with("service:") {
            return;
        }
        let principal = resolve(&entry.org_id, &entry.actor_id, subjects);
        let found = uses.entry((entry.org_id, principal)).or_insert(Use { last: at, lines: 0 });
        found.last = found.last.max(at);
        found.lines += 1;
    })?;
    Ok((uses, seen))
}

/// The person behind a pseudonym; what is none, or nobody's any more, stays as the line has it.
pub(super) fn resolve(org: &str, actor: &str, subjects: &Subjects) -> String {
    let known = actor.strip_prefix("user:").zip(subjects.as_ref());
    let known = known.and_then(|(id, subjects)| subjects.get(&(org.to_owned(), id.to_owned())));
    known.map_or_else(|| actor.to_owned(), |subject| format!("user:{subject}"))
}

pub(super) fn span(seen: &Seen) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({ "lines": seen.lines, "unreadable": seen.unreadable, "first": text(seen.first), "last": text(seen.last) })
}

fn tenants(rows: Vec<Row>, mut uses: Option<Uses>, horizon: OffsetDateTime) -> Vec<Tenant> {
    let mut found: BTreeMap<String, Tenant> = BTreeMap::new();
    for row in rows {
        let Row { org_id, state, removed, .. } = row;
        let empty = Tenant { org_id: org_id.clone(), state, removed, principals: Vec::new() };
        let tenant = found.entry(org_id.clone()).or_insert(empty);
        let Some(user) = row.user_id else { continue };
        let principal = format!("user:{user}");
        let used = uses.as_mut().map(|uses| uses.remove(&(org_id, principal.clone())));
        let since = row.created_at.map(Timestamp::new);
        // A member who was added lately is not stale for not having come yet.
        let stale = used.map(|used| used.map(|used| used.last).max(since).is_none_or(|at| at.moment() < horizon));
        tenant.principals.push(account(principal, row.role, since, used.flatten(), stale));
    }
    for ((org, principal), used) in uses.unwrap_or_default() {
        let stale = Some(used.last.moment() < horizon);
        if let Some(tenant) = found.get_mut(&org) {
            tenant.principals.push(account(principal, None, None, Some(used), stale));
        }
    }
    found.into_values().collect()
}

fn account(
    principal: String,
    role: Option<String>,
    since: Option<Timestamp>,
    used: Option<Use>,
    stale: Option<bool>,
) -> Account {
    Account {
        principal,
        role,
        since: since.map(|since| since.to_string()),
        last_use: used.map(|used| used.last.to_string()),
        lines: used.map_or(0, |used| used.lines),
        stale,
    }
}

fn show(review: &Review, document: &str, key: Option<&SigningKey>, screen: &Screen) {
    if let Some(key) = key {
        screen.raw(key.sign(&format!("{document}\n")).trim_end_matches('\n'));
        return;
    }
    if screen.is_json() {
        screen.raw(document);
        return;
    }
    screen.tell(&columns("TENANT", "PRINCIPAL", "ROLE", "LAST USE", "LINES", ""));
    for tenant in &review.tenants {
        for account in &tenant.principals {
            let last = account.last_use.as_deref().map_or("-", |at| at.get(..10).unwrap_or(at));
            let role = account.role.as_deref().unwrap_or("(token)");
            let stale = if account.stale == Some(true) { "stale" } else { "" };
            screen.tell(&columns(&tenant.org_id, &account.principal, role, last, &account.lines.to_string(), stale));
        }
        if tenant.principals.is_empty() {
            screen.tell(&columns(&tenant.org_id, "-", "-", "-", "0", ""));
        }
    }
}

fn columns(tenant: &str, principal: &str, role: &str, last: &str, lines: &str, stale: &str) -> String {
    format!("{tenant:<24} {principal:<44} {role:<8} {last:<10} {lines:>8} {stale}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(n)
    }

    fn row(org: &str, user: Option<&str>, added: i64) -> Row {
        Row {
            org_id: org.to_owned(),
            state: "active".to_owned(),
            removed: 0,
            user_id: user.map(str::to_owned),
            role: user.map(|_| "editor".to_owned()),
            created_at: user.map(|_| day(added)),
        }
    }

    #[test]
    fn a_member_is_stale_by_its_last_line_or_its_age_and_strangers_are_listed() {
        let used = |org: &str, who: &str, n: i64| {
            ((org.to_owned(), who.to_owned()), Use { last: Timestamp::new(day(n)), lines: 1 })
        };
        let uses = Uses::from([
            used("acme", "user:busy", 99),
            used("acme", "user:idle", 10),
            used("acme", "service:crm", 98),
            used("gone", "user:x", 98),
        ]);
        let rows = || {
            vec![
                row("acme", Some("busy"), 1),
                row("acme", Some("idle"), 1),
                row("acme", Some("never"), 1),
                row("acme", Some("new"), 95),
                row("bare", None, 0),
            ]
        };
        let found = tenants(rows(), Some(uses), day(90));
        let names: Vec<&str> = found.iter().map(|tenant| tenant.org_id.as_str()).collect();
        assert_eq!(names, ["acme", "bare"]);
        let stale: Vec<(&str, Option<bool>)> =
            found[0].principals.iter().map(|account| (account.principal.as_str(), account.stale)).collect();
        assert_eq!(
            stale,
            [
                ("user:busy", Some(false)),
                ("user:idle", Some(true)),
                ("user:never", Some(true)),
                ("user:new", Some(false)),
                ("service:crm", Some(false)),
            ]
        );
        let blind = tenants(rows(), None, day(90));
        assert!(blind[0].principals.iter().all(|account| account.stale.is_none()), "nothing is known without the log");
    }

    #[test]
    fn a_pseudonym_is_resolved_within_its_tenant_alone() {
        let subjects = Some(BTreeMap::from([(("acme".to_owned(), "p1".to_owned()), "ada".to_owned())]));
        assert_eq!(resolve("acme", "user:p1", &subjects), "user:ada");
        for (org, actor) in [("globex", "user:p1"), ("acme", "user:p2"), ("acme", "service:p1")] {
            assert_eq!(resolve(org, actor, &subjects), actor);
        }
        assert_eq!(resolve("acme", "user:p1", &None), "user:p1");
    }
}
