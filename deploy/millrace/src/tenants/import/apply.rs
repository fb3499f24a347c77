//! One transaction of an import.

use std::collections::HashSet;
use std::ops::AddAssign;

use millrace::contract::TenantId;
use millrace::pipeline::{NotedAct, OperatorAct};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::lines::Entry;
use crate::CommandFault;
use crate::operator::Usage;
use crate::tenants::link::Customer;
use crate::tenants::{TENANT, wake};

/// What an import did.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) created: usize,
    pub(super) present: usize,
    pub(super) linked: usize,
    pub(super) released: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.created += more.created;
        self.present += more.present;
        self.linked += more.linked;
        self.released += more.released;
    }
}

/// Makes what is not there, with one audit event each.
pub(super) async fn part(mut act: OperatorAct, entries: &[Entry], dry_run: bool) -> Result<Counts, CommandFault> {
    let created = insert_tenants(act.conn(), entries).await?;
    let linked = insert_links(act.conn(), entries).await?;
    if let Some(line) = linked_elsewhere(act.conn(), entries).await?.first() {
        return Err(Usage(format!("line {line}: the customer was linked to another tenant meanwhile")).into());
    }
    let mut counts =
        Counts { created: created.len(), present: entries.len() - created.len(), linked: linked.len(), released: 0 };
    if !created.is_empty() {
        counts.released += wake(act.conn(), "tenant_unknown").await?;
    }
    if !linked.is_empty() {
        counts.released += wake(act.conn(), "tenant_unresolved").await?;
    }
    let mut acting = Acting::Unnoted(act);
    for entry in entries {
        if created.contains(entry.org.as_str()) {
            let target = (TENANT, entry.org.as_str());
            acting = acting.note(&entry.org, "tenants.create", target, Map::new())?;
        }
        if let Some(customer) = entry.customer.as_ref().filter(|customer| linked.contains(&key(customer))) {
            acting = acting.note(&entry.org, "tenants.link", ("provider_link", &customer.id), customer.facts())?;
        }
    }
    match acting {
        Acting::Noted(noted) if !dry_run => noted.commit_all().await?,
        // Nothing was changed, or nothing is to stay: without a commit the server rolls back.
        Acting::Noted(_) | Acting::Unnoted(_) => {}
    }
    Ok(counts)
}

/// An act that commits once it has something to say.
enum Acting {
    Unnoted(OperatorAct),
    Noted(NotedAct),
}

impl Acting {
    fn note(
        self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<Self, CommandFault> {
        match self {
            Self::Unnoted(act) => Ok(Self::Noted(act.note(org, action, resource, metadata)?)),
            Self::Noted(mut noted) => {
                noted.and_note(org, action, resource, metadata)?;
                Ok(Self::Noted(noted))
            }
        }
    }
}

async fn insert_tenants(connection: &mut PgConnection, entries: &[Entry]) -> sqlx::Result<HashSet<String>> {
    let orgs: Vec<String> = entries.iter().map(|entry| entry.org.to_string()).collect();
    let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let plans: Vec<Option<String>> = entries.iter().map(|entry| entry.plan.clone()).collect();
    let created = sqlx::query_scalar!(
        "INSERT INTO app.tenants (org_id, name, plan)
         SELECT org_id, name, coalesce(plan, 'free')
         FROM UNNEST($1::text[], $2::text[], $3::text[]) AS new (org_id, name, plan)
         ON CONFLICT (org_id) DO NOTHING RETURNING org_id",
        &orgs,
        &names,
        &plans as &[Option<String>]
    )
    .fetch_all(connection)
    .await?;
    Ok(created.into_iter().collect())
}

/// What makes a customer this one and no other.
type CustomerKey = (String, String, bool, String);

fn key(customer: &Customer) -> CustomerKey {
    (customer.provider.clone(), customer.account.clone(), customer.live, customer.id.clone())
}

/// The customers of some lines, as columns.
#[derive(Default)]
struct Columns {
    lines: Vec<i64>,
    providers: Vec<String>,
    accounts: Vec<String>,
    live: Vec<bool>,
    ids: Vec<String>,
    orgs: Vec<String>,
}

impl Columns {
    fn of(entries: &[Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            let Some(customer) = &entry.customer else { continue };
            columns.lines.push(i64::try_from(entry.line).unwrap_or(i64::MAX));
            columns.providers.push(customer.provider.clone());
            columns.accounts.push(customer.account.clone());
            columns.live.push(customer.live);
            columns.ids.push(customer.id.clone());
            columns.orgs.push(entry.org.to_string());
        }
        columns
    }
}

async fn insert_links(connection: &mut PgConnection, entries: &[Entry]) -> sqlx::Result<HashSet<CustomerKey>> {
    let columns = Columns::of(entries);
    let linked = sqlx::query!(
        "INSERT INTO engine.provider_links (provider, account, livemode, external_id, org_id)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::bool[], $4::text[], $5::text[])
         ON CONFLICT DO NOTHING RETURNING provider, account, livemode, external_id",
        &columns.providers,
        &columns.accounts,
        &columns.live,
        &columns.ids,
        &columns.orgs
    )
    .fetch_all(connection)
    .await?;
    Ok(linked.into_iter().map(|row| (row.provider, row.account, row.livemode, row.external_id)).collect())
}

/// Lines whose customer is another tenant's.
pub(super) async fn linked_elsewhere(connection: &mut PgConnection, entries: &[Entry]) -> sqlx::Result<Vec<usize>> {
    let columns = Columns::of(entries);
    let lines = sqlx::query_scalar!(
        r#"SELECT new.line AS "line!"
           FROM UNNEST($1::int8[], $2::text[], $3::text[], $4::bool[], $5::text[], $6::text[])
             AS new (line, provider, account, livemode, external_id, org_id)
           JOIN engine.provider_links l USING (provider, account, livemode, external_id)
           WHERE l.org_id <> new.org_id ORDER BY new.line"#,
        &columns.lines,
        &columns.providers,
        &columns.accounts,
        &columns.live,
        &columns.ids,
        &columns.orgs
    )
    .fetch_all(connection)
    .await?;
    Ok(lines.into_iter().filter_map(|line| usize::try_from(line).ok()).collect())
}
