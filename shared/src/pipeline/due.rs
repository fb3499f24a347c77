//! Due: messages for later. A handler says when, its transaction keeps the message unsealed, and a worker that takes such
//! messages seals it when its time has come. The relay could not: it holds no key.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::fate::{Fate, Later};
use super::outbox::{Outbox, OutboxRow, store as store_outbox};
use super::road::{Road, RoadFault, Step};
use crate::contract::{Callers, Envelope, Lane, MessageId, MessageType, Principal, Route, TenantId, Timestamp};
use crate::db::{BatchTx, DbFault};
use crate::lifecycle::Drain;
use crate::retry::RetrySchedule;
use crate::telemetry::chain;

/// Pause when nothing is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Most messages of one transaction.
const MOST: i64 = 256;

/// Keeps what messages of this run have left for later; the latest word about one subject counts.
pub(super) async fn keep(tx: &mut BatchTx, steps: &[Step<'_>]) -> Result<(), DbFault> {
    let mut kept: BTreeMap<(&str, &str, &str), (&Later, String)> = BTreeMap::new();
    for step in steps {
        let (Some(Fate::Applied(changed)), Some(tenant)) = (&step.fate, &step.tenant) else { continue };
        for later in &changed.later {
            kept.insert((tenant.as_str(), later.name, &later.subject), (later, step.parcel.message_id()));
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let orgs: Vec<String> = kept.keys().map(|(org, ..)| (*org).to_owned()).collect();
    let types: Vec<String> = kept.keys().map(|(_, name, _)| (*name).to_owned()).collect();
    let subjects: Vec<String> = kept.keys().map(|(.., subject)| (*subject).to_owned()).collect();
    let ids: Vec<Uuid> = kept.values().map(|_| Uuid::now_v7()).collect();
    let versions: Vec<i32> = kept.values().map(|(l, _)| i32::try_from(l.schema_version).unwrap_or(i32::MAX)).collect();
    let bodies: Vec<Vec<u8>> = kept.values().map(|(later, _)| later.body.clone()).collect();
    let causes: Vec<String> = kept.values().map(|(_, cause)| cause.clone()).collect();
    let times: Vec<OffsetDateTime> = kept.values().map(|(later, _)| later.due.moment()).collect();
    sqlx::query!(
        "INSERT INTO engine.due AS d (org_id, message_type, subject, id, schema_version, body, cause, due_at)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::uuid[], $5::int[], $6::bytea[], $7::text[],
           $8::timestamptz[])
         ON CONFLICT (org_id, message_type, subject) DO UPDATE SET id = EXCLUDED.id,
           schema_version = EXCLUDED.schema_version, body = EXCLUDED.body, cause = EXCLUDED.cause, due_at = EXCLUDED.due_at",
        &orgs,
        &types,
        &subjects,
        &ids,
        &versions,
        &bodies,
        &causes,
        &times,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

impl Road {
    /// Seals what is due until the drain begins. Several may run: a row is one's own while it is sealed.
    pub(super) async fn seal_due(&self, outbox: &Outbox, drain: &Drain) {
        let taken = self.contract.payloads_of(&self.worker).filter(|entry| entry.callers == Callers::System);
        let types: Vec<String> = taken.map(|entry| entry.name.to_string()).collect();
        let mut delays = RetrySchedule::connections().delays();
        while !types.is_empty() && !drain.begun() {
            let pause = match self.seal_some(&types).await {
                Ok(rows) => {
                    delays.reset();
                    let full = rows.len() >= usize::try_from(MOST).unwrap_or(usize::MAX);
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

    /// One transaction: takes rows, seals them, stores them in the outbox.
    async fn seal_some(&self, types: &[String]) -> Result<Vec<OutboxRow>, RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let mut tx = BatchTx::begin(&self.pool, &self.context).await?;
        let due = sqlx::query!(
            "DELETE FROM engine.due d USING (
               SELECT org_id, message_type, subject FROM engine.due WHERE message_type = ANY($1) AND due_at <= $2
               ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS n
             WHERE (d.org_id, d.message_type, d.subject) = (n.org_id, n.message_type, n.subject)
             RETURNING d.org_id, d.message_type, d.id, d.schema_version, d.body, d.cause",
            types,
            now.moment(),
            MOST,
        )
        .fetch_all(tx.conn())
        .await
        .map_err(DbFault::from)?;
        let mut rows = Vec::with_capacity(due.len());
        for row in due {
            let version = row.schema_version.unsigned_abs();
            let envelope = self.due_envelope(&row.org_id, &row.message_type, &row.cause, row.id, version, now);
            let envelope = envelope.map_err(|fault| RoadFault::Audit(fault.into()))?;
            let wire =
                self.signer.seal(&envelope, Lane::Main, row.body).map_err(|fault| RoadFault::Audit(fault.into()))?;
            let route = Route::work(&self.worker, Lane::Main);
            rows.push(OutboxRow { id: Uuid::now_v7(), route, wire: std::sync::Arc::new(wire) });
        }
        store_outbox(tx.conn(), &rows).await.map_err(DbFault::from)?;
        tx.commit().await?;
        Ok(rows)
    }

    fn due_envelope(
        &self,
        org: &str,
        message_type: &str,
        cause: &str,
        id: Uuid,
        schema_version: u32,
        now: Timestamp,
    ) -> Result<Envelope, crate::contract::IdFault> {
        Ok(Envelope {
            message_id: MessageId::from(id),
            message_type: MessageType::parse(message_type)?,
            schema_version,
            content_type: "application/json".to_owned(),
            org_id: Some(TenantId::parse(org)?),
            principal: Principal::system(self.signer.publisher().as_str()),
            token: None,
            origin: None,
            dedupe_key: None,
            correlation_id: Some(cause.to_owned()),
            causation_id: Some(MessageId::parse(cause)?),
            issued_at: now,
            expected_version: None,
        })
    }
}
