//! Park: attempts are counted and waits are kept in Postgres, in the batch's transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::fate::Fate;
use super::open::{MessageName, Parcel};
use super::relay::IN_FLIGHT;
use super::road::{LARGE_BODY, LARGE_BODY_TIME, Road, Step};
use crate::contract::{Route, Timestamp, WireMessage};
use crate::db::{BatchTx, DbFault};
use crate::retry::RetrySchedule;

/// Whoever was called may ask for so long a pause at most.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// Parks what has to wait, declares dead what has waited or failed long enough, and clears the row of everything that
/// is settled.
pub(super) async fn park(road: &Road, tx: &mut BatchTx, steps: &mut [Step<'_>], now: Timestamp) -> Result<(), DbFault> {
    // In one order everywhere, so that two batches with the same messages wait for each other and never deadlock.
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_cached_key(|place| (steps[*place].parcel.publisher(), steps[*place].parcel.message_id()));
    for place in order {
        let step = &mut steps[place];
        step.fate = match step.fate.take() {
            Some(Fate::Retry { code, after }) => Some(retry(road, tx, step, (code, after), now).await?),
            Some(Fate::Wait { code, window, after }) => Some(wait(road, tx, step, (code, window, after), now).await?),
            settled => settled,
        };
    }
    clear(tx, steps).await
}

/// What is known of a message that was here before.
struct Kept {
    attempts: i32,
    waits: i32,
    first_parked_at: Timestamp,
}

async fn kept(tx: &mut BatchTx, parcel: &Parcel, now: Timestamp) -> Result<Kept, DbFault> {
    let row = sqlx::query!(
        "SELECT attempts, waits, first_parked_at FROM engine.parked
         WHERE publisher = $1 AND message_id = $2 FOR UPDATE",
        parcel.publisher(),
        parcel.message_id(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map_or(Kept { attempts: 0, waits: 0, first_parked_at: now }, |row| Kept {
        attempts: row.attempts,
        waits: row.waits,
        first_parked_at: Timestamp::new(row.first_parked_at),
    }))
}

async fn retry(
    road: &Road,
    tx: &mut BatchTx,
    step: &Step<'_>,
    (code, after): (&'static str, Duration),
    now: Timestamp,
) -> Result<Fate, DbFault> {
    let mut kept = kept(tx, step.parcel, now).await?;
    kept.attempts += i32::from(!step.parcel.counted);
    let attempts = kept.attempts.max(1);
    if attempts >= road.max_attempts() {
        return Ok(Fate::Dead { code, attempts });
    }
    let delay = RetrySchedule::messages(road.retry.backoff_multiplier).delay(attempts.unsigned_abs() - 1);
    let delay = delay.max(after.min(LONGEST_ASKED));
    store(road, tx, step.parcel, &kept, code, now.moment() + delay).await?;
    Ok(Fate::Parked { code })
}

async fn wait(
    road: &Road,
    tx: &mut BatchTx,
    step: &Step<'_>,
    (code, window, after): (&'static str, Duration, Duration),
    now: Timestamp,
) -> Result<Fate, DbFault> {
    let mut kept = kept(tx, step.parcel, now).await?;
    if now.moment() - kept.first_parked_at.moment() > window {
        return Ok(Fate::Dead { code, attempts: kept.attempts });
    }
    let delay = RetrySchedule::waits().delay(kept.waits.unsigned_abs()).max(after.min(LONGEST_ASKED));
    kept.waits += 1;
    // Waiting is no execution.
    kept.attempts -= i32::from(step.parcel.counted).min(kept.attempts);
    store(road, tx, step.parcel, &kept, code, now.moment() + delay).await?;
    Ok(Fate::Parked { code })
}

async fn store(
    road: &Road,
    tx: &mut BatchTx,
    parcel: &Parcel,
    kept: &Kept,
    code: &str,
    not_before: time::OffsetDateTime,
) -> Result<(), DbFault> {
    let wire: &WireMessage = &parcel.wire;
    let route = Route::work(&road.worker, parcel.lane());
    sqlx::query!(
        "INSERT INTO engine.parked AS p
           (publisher, message_id, exchange, routing_key, fields, body, attempts, waits, reason, first_parked_at, not_before)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (publisher, message_id) DO UPDATE SET
           attempts = EXCLUDED.attempts, waits = EXCLUDED.waits, reason = EXCLUDED.reason, not_before = EXCLUDED.not_before",
        parcel.publisher(),
        parcel.message_id(),
        route.exchange,
        route.routing_key,
        wire.fields_json(),
        wire.body,
        kept.attempts,
        kept.waits,
        code,
        kept.first_parked_at.moment(),
        not_before,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A settled message needs no row any more.
async fn clear(tx: &mut BatchTx, steps: &[Step<'_>]) -> Result<(), DbFault> {
    let settled =
        |step: &&Step<'_>| step.parcel.opened.is_some() && !matches!(step.fate, Some(Fate::Parked { .. }) | None);
    let (publishers, ids): (Vec<_>, Vec<_>) =
        steps.iter().filter(settled).map(|step| (step.parcel.publisher(), step.parcel.message_id())).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM engine.parked p USING UNNEST($1::text[], $2::text[]) AS s (publisher, message_id)
         WHERE p.publisher = s.publisher AND p.message_id = s.message_id",
        &publishers,
        &ids,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How many executions of these messages are counted so far.
pub(super) async fn attempts(road: &Road, parcels: &[Parcel]) -> Result<BTreeMap<MessageName, i32>, DbFault> {
    let (publishers, ids): (Vec<String>, Vec<String>) = parcels.iter().map(Parcel::name).unzip();
    let mut tx = BatchTx::begin(&road.pool, &road.context).await?;
    let rows = sqlx::query!(
        "SELECT p.publisher, p.message_id, p.attempts FROM engine.parked p
         JOIN UNNEST($1::text[], $2::text[]) AS s (publisher, message_id) USING (publisher, message_id)",
        &publishers,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(|row| ((row.publisher, row.message_id), row.attempts)).collect())
}

/// Counts one execution more of each of these messages, in a commit of its own: should one of them kill the process, the
/// counts stay. Sent again for the same `execution`, because nobody learned how its COMMIT ended, it counts nothing more.
/// Returns the executions so far.
pub(super) async fn count_executions<'p>(
    road: &Road,
    execution: Uuid,
    parcels: impl Iterator<Item = &'p Parcel>,
) -> Result<BTreeMap<MessageName, i32>, DbFault> {
    // Copies of one message in one batch are one execution. In one order, as everywhere.
    let parcels: BTreeMap<MessageName, &Parcel> = parcels.map(|parcel| (parcel.name(), parcel)).collect();
    if parcels.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut tx = BatchTx::begin(&road.pool, &road.context).await?;
    if parcels.values().any(|parcel| parcel.wire.body.len() > LARGE_BODY) {
        tx.allow(LARGE_BODY_TIME).await?;
    }
    let counts = add_executions(road, &mut tx, execution, &parcels).await?;
    tx.commit().await?;
    Ok(counts)
}

async fn add_executions(
    road: &Road,
    tx: &mut BatchTx,
    execution: Uuid,
    parcels: &BTreeMap<MessageName, &Parcel>,
) -> Result<BTreeMap<MessageName, i32>, DbFault> {
    let (publishers, ids): (Vec<String>, Vec<String>) = parcels.keys().cloned().unzip();
    let routes = parcels.values().map(|parcel| Route::work(&road.worker, parcel.lane()));
    let (exchanges, keys): (Vec<String>, Vec<String>) = routes.map(|route| (route.exchange, route.routing_key)).unzip();
    let fields: Vec<serde_json::Value> = parcels.values().map(|parcel| parcel.wire.fields_json()).collect();
    let bodies: Vec<Vec<u8>> = parcels.values().map(|parcel| parcel.wire.body.clone()).collect();
    let rows = sqlx::query!(
        "INSERT INTO engine.parked AS p
           (publisher, message_id, exchange, routing_key, fields, body, attempts, reason, not_before, execution)
         SELECT n.*, 1, 'redelivered', $7, $8 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[],
           $6::bytea[]) AS n (publisher, message_id, exchange, routing_key, fields, body)
         ORDER BY n.publisher, n.message_id
         ON CONFLICT (publisher, message_id) DO UPDATE SET
           attempts = p.attempts + CASE WHEN p.execution = EXCLUDED.execution THEN 0 ELSE 1 END,
           reason = EXCLUDED.reason, not_before = EXCLUDED.not_before, execution = EXCLUDED.execution
         RETURNING publisher, message_id, attempts",
        &publishers,
        &ids,
        &exchanges,
        &keys,
        &fields,
        &bodies,
        time::OffsetDateTime::now_utc() + IN_FLIGHT,
        execution,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| ((row.publisher, row.message_id), row.attempts)).collect())
}
