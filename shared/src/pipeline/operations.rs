//! Record: what became of each command, kept for whoever sent it.

use sqlx::postgres::PgConnection;

use super::fate::{Changed, Fate};
use super::road::Step;
use crate::contract::{TenantId, Timestamp};
use crate::db::{BatchTx, DbFault};

/// The rows of one run, column by column as PostgreSQL takes them.
#[derive(Default)]
struct Rows {
    orgs: Vec<TenantId>,
    publishers: Vec<String>,
    ids: Vec<String>,
    commands: Vec<String>,
    outcomes: Vec<String>,
    codes: Vec<Option<String>>,
    resource_types: Vec<Option<String>>,
    resource_ids: Vec<Option<String>>,
}

/// Writes one row for each command settled in this run. What lies outside its publisher's grant leaves none: that
/// publisher has no say about the tenant it names.
pub(super) async fn record(tx: &mut BatchTx, steps: &[Step<'_>], now: Timestamp) -> Result<(), DbFault> {
    let mut rows = Rows::default();
    for step in steps {
        rows.add(step);
    }
    if rows.ids.is_empty() {
        return Ok(());
    }
    let contexts: Vec<String> = rows.orgs.iter().map(|org| tx.context_of(org)).collect();
    write(tx.conn(), &contexts, &rows, now).await?;
    Ok(())
}

impl Rows {
    fn add(&mut self, step: &Step<'_>) {
        let settled = step.fate.as_ref().filter(|fate| !matches!(fate, Fate::OutsideGrant { .. }));
        let Some((fate, outcome)) = settled.and_then(|fate| Some((fate, fate.outcome()?))) else { return };
        let Some(opened) = &step.parcel.opened else { return };
        // Nobody asks what became of a message that is no command, such as the edge's own about a refusal.
        if step.parcel.prepared.as_ref().is_some_and(|prepared| !prepared.request().callers.send_commands()) {
            return;
        }
        let envelope = &opened.envelope;
        let Some(org) = envelope.org_id.as_ref().filter(|_| envelope.principal.kind.sends_commands()) else { return };
        let changed = match fate {
            Fate::Applied(Changed { resource_type, resource, .. }) => Some((*resource_type, resource.id().to_owned())),
            _ => None,
        };
        self.orgs.push(org.clone());
        self.publishers.push(opened.publisher.name.to_string());
        self.ids.push(envelope.message_id.to_string());
        self.commands.push(envelope.message_type.to_string());
        self.outcomes.push(outcome.as_str().to_owned());
        self.codes.push(fate.code().map(str::to_owned));
        self.resource_types.push(changed.as_ref().map(|(kind, _)| (*kind).to_owned()));
        self.resource_ids.push(changed.map(|(_, id)| id));
    }
}

/// Each row goes under the context of its tenant, which nobody can make for another one.
async fn write(connection: &mut PgConnection, contexts: &[String], rows: &Rows, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT engine.record_operations($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        contexts,
        &rows.publishers,
        &rows.ids,
        &rows.commands,
        &rows.outcomes,
        &rows.codes as &[Option<String>],
        &rows.resource_types as &[Option<String>],
        &rows.resource_ids as &[Option<String>],
        now.moment(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
