//! Record: what became of each command, kept for whoever sent it.

use sqlx::postgres::PgConnection;

use super::fate::{Changed, Fate};
use super::road::Step;
use crate::contract::Timestamp;
use crate::db::{BatchTx, DbFault};

/// The rows of one run, column by column as PostgreSQL takes them.
#[derive(Default)]
struct Rows {
    orgs: Vec<String>,
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
    if insert(tx.conn(), &rows, now).await? < rows.ids.len() {
        overwrite(tx.conn(), &rows, now).await?;
    }
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
        self.orgs.push(org.to_string());
        self.publishers.push(opened.publisher.name.to_string());
        self.ids.push(envelope.message_id.to_string());
        self.commands.push(envelope.message_type.to_string());
        self.outcomes.push(outcome.as_str().to_owned());
        self.codes.push(fate.code().map(str::to_owned));
        self.resource_types.push(changed.as_ref().map(|(kind, _)| (*kind).to_owned()));
        self.resource_ids.push(changed.map(|(_, id)| id));
    }
}

/// Returns how many were not there yet.
async fn insert(connection: &mut PgConnection, rows: &Rows, now: Timestamp) -> sqlx::Result<usize> {
    let inserted = sqlx::query!(
        "INSERT INTO engine.operations
           (org_id, publisher, message_id, command, outcome, code, resource_type, resource_id, settled_at)
         SELECT n.*, $9 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
           $8::text[]) AS n (org_id, publisher, message_id, command, outcome, code, resource_type, resource_id)
         ORDER BY n.org_id, n.publisher, n.message_id
         ON CONFLICT (org_id, publisher, message_id) DO NOTHING",
        &rows.orgs,
        &rows.publishers,
        &rows.ids,
        &rows.commands,
        &rows.outcomes,
        &rows.codes as &[Option<String>],
        &rows.resource_types as &[Option<String>],
        &rows.resource_ids as &[Option<String>],
        now.moment(),
    )
    .execute(connection)
    .await?;
    Ok(usize::try_from(inserted.rows_affected()).unwrap_or(usize::MAX))
}

/// A command that was dead may be sent again, and is then what it became last. What was settled never becomes dead: that
/// is a copy which somebody gave up on.
async fn overwrite(connection: &mut PgConnection, rows: &Rows, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE engine.operations o SET outcome = n.outcome, code = n.code, resource_type = n.resource_type,
           resource_id = n.resource_id, settled_at = $8
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
           AS n (org_id, publisher, message_id, outcome, code, resource_type, resource_id)
         WHERE o.org_id = n.org_id AND o.publisher = n.publisher AND o.message_id = n.message_id AND n.outcome <> 'dead'",
        &rows.orgs,
        &rows.publishers,
        &rows.ids,
        &rows.outcomes,
        &rows.codes as &[Option<String>],
        &rows.resource_types as &[Option<String>],
        &rows.resource_ids as &[Option<String>],
        now.moment(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
