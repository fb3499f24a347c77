//! Due: messages for later. A handler says when, its transaction keeps the message unsealed, and a worker that takes such
//! messages seals it when its time has come. The relay could not: it holds no key.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::fate::{Fate, Later};
use super::outbox::{Outbox, OutboxRow, store as store_outbox};
use super::road::{Road, Step};
use crate::contract::{Callers, Envelope, Lane, MessageId, MessageType, Principal, Route, TenantId, Timestamp};
use crate::db::{BatchTx, DbFault};
use crate::lifecycle::Drain;
use crate::retry::RetrySchedule;
use crate::telemetry::{chain, fields};

/// Pause when nothing is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Most messages of one transaction.
const MOST: i64 = 256;

/// What messages of one tenant have left for later, by type and subject, with the message that it follows from.
type Kept<'s> = BTreeMap<(&'static str, &'s str), (&'s Later, String)>;

/// Keeps what messages of this run have left for later, each tenant's in its own scope; the latest word about one subject
/// counts.
pub(super) async fn keep(tx: &mut BatchTx, steps: &[Step<'_>]) -> Result<(), DbFault> {
    let mut all: BTreeMap<&TenantId, Kept<'_>> = BTreeMap::new();
    for step in steps {
        let (Some(Fate::Applied(changed)), Some(tenant)) = (&step.fate, &step.tenant) else { continue };
        for later in &changed.later {
            let kept = all.entry(tenant).or_default();
            kept.insert((later.name, &later.subject), (later, step.parcel.message_id()));
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let mut tenants = tx.tenants();
    for (tenant, kept) in all {
        keep_one(tenants.scope(tenant, &[]).await?.conn(), &kept).await?;
    }
    tenants.leave().await
}

async fn keep_one(connection: &mut PgConnection, kept: &Kept<'_>) -> sqlx::Result<()> {
    let types: Vec<String> = kept.keys().map(|(name, _)| (*name).to_owned()).collect();
    let subjects: Vec<String> = kept.keys().map(|(_, subject)| (*subject).to_owned()).collect();
    let ids: Vec<Uuid> = kept.values().map(|_| Uuid::now_v7()).collect();
    let versions: Vec<i32> = kept.values().map(|(l, _)| i32::try_from(l.schema_version).unwrap_or(i32::MAX)).collect();
    let bodies: Vec<Vec<u8>> = kept.values().map(|(later, _)| later.body.clone()).collect();
    let causes: Vec<String> = kept.values().map(|(_, cause)| cause.clone()).collect();
    let times: Vec<OffsetDateTime> = kept.values().map(|(later, _)| later.due.moment()).collect();
    sqlx::query!(
        "SELECT engine.keep_due($1, $2, $3, $4, $5, $6, $7)",
        &types,
        &subjects,
        &ids,
        &versions,
        &bodies,
        &causes,
        &times,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// A row whose time has come.
struct Due {
    org: String,
    message_type: String,
    subject: String,
    id: Uuid,
    schema_version: u32,
    body: Vec<u8>,
    cause: String,
    refused_before: bool,
}

impl Road {
    /// Seals what is due until the drain begins. Several may run: a row is one's own while it is sealed.
    pub(super) async fn seal_due(&self, outbox: &Outbox, drain: &Drain) {
        let taken = self.contract.payloads_of(&self.worker).filter(|entry| entry.callers == Callers::System);
        let types: Vec<String> = taken.map(|entry| entry.name.to_string()).collect();
        let mut delays = RetrySchedule::connections().delays();
        while !types.is_empty() && !drain.begun() {
            let pause = match self.patiently(self.seal_some(&types)).await {
                Ok((taken, rows)) => {
                    delays.reset();
                    let full = taken >= usize::try_from(MOST).unwrap_or(usize::MAX);
                    outbox.publish(rows).await;
                    if full { Duration::ZERO } else { PAUSE }
                }
                Err(fault) => {
                    tracing::warn!(error = chain(&fault), "what is due waits");
                    delays.next_delay()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => {}
            }
        }
    }

    /// One transaction: takes rows, seals them, stores them in the outbox. What cannot be sealed is told, and makes room for
    /// the others. Returns how many were due, too.
    async fn seal_some(&self, types: &[String]) -> Result<(usize, Vec<OutboxRow>), DbFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let mut tx = BatchTx::begin(&self.pool, &self.context).await?;
        let mut tenants = tx.tenants();
        let mut scope = tenants.scope(&TenantId::operator(), &[]).await?;
        let due = take(scope.conn(), types, now).await?;
        let sealed: Vec<Option<OutboxRow>> = due.iter().map(|row| self.sealed(row, now)).collect();
        if !due.is_empty() {
            settle(scope.conn(), &due, &sealed).await?;
        }
        tenants.leave().await?;
        let rows: Vec<OutboxRow> = sealed.into_iter().flatten().collect();
        store_outbox(tx.conn(), &rows).await?;
        tx.commit().await?;
        Ok((due.len(), rows))
    }

    /// `None` for what this build cannot seal; a later one may. It is logged once and counted each time.
    fn sealed(&self, due: &Due, now: Timestamp) -> Option<OutboxRow> {
        let sealed = self
            .due_envelope(due, now)
            .map_err(|fault| fault.to_string())
            .and_then(|e| self.signer.seal(&e, Lane::Main, due.body.clone()).map_err(|fault| fault.to_string()));
        match sealed {
            Ok(wire) => {
                let route = Route::work(&self.worker, Lane::Main);
                Some(OutboxRow { id: Uuid::now_v7(), route, wire: std::sync::Arc::new(wire) })
            }
            Err(error) => {
                metrics::counter!(fields::DUE_REFUSED, "worker" => self.worker.to_string()).increment(1);
                if !due.refused_before {
                    tracing::error!(error, message.id = %due.id, "what is due cannot be sealed; it is tried every hour");
                }
                None
            }
        }
    }

    fn due_envelope(&self, due: &Due, now: Timestamp) -> Result<Envelope, crate::contract::IdFault> {
        Ok(Envelope {
            message_id: MessageId::from(due.id),
            message_type: MessageType::parse(&due.message_type)?,
            schema_version: due.schema_version,
            content_type: "application/json".to_owned(),
            org_id: Some(TenantId::parse(&due.org)?),
            principal: Principal::system(self.signer.publisher().as_str()),
            token: None,
            origin: None,
            dedupe_key: None,
            correlation_id: Some(due.cause.clone()),
            causation_id: Some(MessageId::parse(&due.cause)?),
            issued_at: now,
            expected_version: None,
        })
    }
}

async fn take(connection: &mut PgConnection, types: &[String], now: Timestamp) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"SELECT org_id AS "org_id!", message_type AS "message_type!", subject AS "subject!", id AS "id!",
             schema_version AS "schema_version!", body AS "body!", cause AS "cause!", refused_before AS "refused_before!"
           FROM engine.take_due($1, $2, $3)"#,
        types,
        now.moment(),
        MOST,
    )
    .fetch_all(connection)
    .await?;
    let due = rows.into_iter().map(|row| Due {
        org: row.org_id,
        message_type: row.message_type,
        subject: row.subject,
        id: row.id,
        schema_version: row.schema_version.unsigned_abs(),
        body: row.body,
        cause: row.cause,
        refused_before: row.refused_before,
    });
    Ok(due.collect())
}

async fn settle(connection: &mut PgConnection, due: &[Due], sealed: &[Option<OutboxRow>]) -> sqlx::Result<()> {
    let orgs: Vec<String> = due.iter().map(|row| row.org.clone()).collect();
    let types: Vec<String> = due.iter().map(|row| row.message_type.clone()).collect();
    let subjects: Vec<String> = due.iter().map(|row| row.subject.clone()).collect();
    let done: Vec<bool> = sealed.iter().map(Option::is_some).collect();
    sqlx::query!("SELECT engine.settle_due($1, $2, $3, $4)", &orgs, &types, &subjects, &done)
        .fetch_one(connection)
        .await?;
    Ok(())
}
