//! The relay: publishes what a crash left in the outbox and what is due in `parked`, verbatim. It holds no sealing
//! key, so it can delay a message but not forge one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::confirmed;
use super::{generations, prune};
use crate::amqp::Publisher;
use crate::contract::{Route, WireFault, WireMessage};
use crate::db::{DbFault, RelayPool};
use crate::lifecycle::Drain;
use crate::retry::RetrySchedule;
use crate::telemetry::{chain, fields};

/// Pause when nothing is due.
const PAUSE: Duration = Duration::from_millis(250);
/// When a message in flight is sent again, should its queue have lost it; the inbox knows a copy.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(3_600);
/// How long a message that could not be published makes room for others.
const PUSH_BACK: Duration = Duration::from_secs(15);
/// How often the inbox's generations and old operations are looked after.
const TEND: Duration = Duration::from_secs(10);
/// Longest sweep: two publishes with their time-outs, and statements. One that takes longer has a silent peer.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Publisher, message id and time of a parked row.
type Due = (String, String, OffsetDateTime);
/// Most rows of one sweep.
const SWEEP: i64 = 500;

/// Outbox rows that were not confirmed, each with the time until which it makes room for others: it would otherwise stand at
/// the head of every sweep. Kept here, because this role may not change a row.
#[derive(Debug, Default)]
struct Held(HashMap<Uuid, Instant>);

impl Held {
    fn ids(&self) -> Vec<Uuid> {
        self.0.keys().copied().collect()
    }

    fn hold(&mut self, rows: impl Iterator<Item = Uuid>) {
        let until = Instant::now() + PUSH_BACK;
        self.0.extend(rows.map(|id| (id, until)));
    }

    fn release(&mut self) {
        let now = Instant::now();
        self.0.retain(|_, until| *until > now);
    }
}

/// Sweeps until it is drained. Several may run; one sweeps at a time.
#[derive(Debug)]
pub struct Relay {
    /// As the relay role.
    pub pool: RelayPool,
    /// As the relay user.
    pub publisher: Publisher,
}

impl Relay {
    /// Runs until the drain begins.
    ///
    /// # Errors
    /// The database refuses the role; everything else is waited for.
    pub async fn run(&self, drain: &Drain) -> Result<(), DbFault> {
        let mut delays = RetrySchedule::connections().delays();
        let mut held = Held::default();
        let mut tend = tokio::time::interval(TEND);
        tend.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !drain.begun() {
            let due = tend.tick().now_or_never().is_some();
            let swept = tokio::select! {
                swept = self.turn(due, &mut held) => swept,
                // What was published and not yet deleted is published again: the inbox knows it.
                () = drain.started() => return Ok(()),
            };
            let pause = match swept {
                Ok(0) => PAUSE,
                Ok(_) => {
                    delays.reset();
                    continue;
                }
                Err(DbFault::Role(role)) => return Err(DbFault::Role(role)),
                Err(fault) => {
                    tracing::warn!(error = chain(&fault), "the relay waits");
                    delays.next_delay()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => {}
            }
        }
        Ok(())
    }

    async fn turn(&self, tend: bool, held: &mut Held) -> Result<usize, DbFault> {
        if tend && let Err(fault) = generations::tend(&self.pool).await {
            tracing::warn!(error = chain(&fault), "the inbox's generations wait");
        }
        if tend && let Err(fault) = prune::operations(&self.pool).await {
            tracing::warn!(error = chain(&fault), "old operations wait");
        }
        self.bounded_sweep(held).await
    }

    async fn bounded_sweep(&self, held: &mut Held) -> Result<usize, DbFault> {
        self.publisher.connected().await;
        tokio::time::timeout(SWEEP_TIMEOUT, self.sweep(held)).await.unwrap_or_else(|_| Err(DbFault::silent()))
    }

    async fn sweep(&self, held: &mut Held) -> Result<usize, DbFault> {
        let mut tx = self.pool.begin().await?;
        // One relay sweeps at a time. A row lock that only this role can take, not bound to a session, so that poolers
        // may stand between.
        let turn =
            sqlx::query!("SELECT turn FROM engine.relay_turn FOR UPDATE SKIP LOCKED").fetch_optional(&mut *tx).await?;
        if turn.is_none() {
            return Ok(0);
        }
        let relayed = self.outbox(&mut tx, held).await? + self.parked(&mut tx).await?;
        tx.commit().await?;
        Ok(relayed)
    }

    /// Rows old enough that their own worker has not published them.
    async fn outbox(&self, tx: &mut sqlx::PgTransaction<'static>, held: &mut Held) -> Result<usize, DbFault> {
        held.release();
        let rows = sqlx::query!(
            "SELECT id, exchange, routing_key, fields, body FROM engine.outbox
             WHERE created_at < now() - interval '5 seconds' AND id <> ALL ($2) ORDER BY created_at LIMIT $1",
            SWEEP,
            &held.ids(),
        )
        .fetch_all(&mut **tx)
        .await?;
        let taken: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let messages = rows.into_iter().filter_map(|row| {
            let wire = readable(WireMessage::from_json(&row.fields, row.body), row.id)?;
            Some((row.id, Route { exchange: row.exchange, routing_key: row.routing_key }, wire))
        });
        let sent: Vec<Uuid> = confirmed(&self.publisher, messages).await;
        held.hold(taken.into_iter().filter(|id| !sent.contains(id)));
        sqlx::query!("DELETE FROM engine.outbox WHERE id = ANY($1)", &sent).execute(&mut **tx).await?;
        metrics::counter!(fields::RELAYED, "kind" => "outbox").increment(sent.len() as u64);
        Ok(sent.len())
    }

    /// Rows whose time has come. The row stays, with its attempts, until the message is settled.
    async fn parked(&self, tx: &mut sqlx::PgTransaction<'static>) -> Result<usize, DbFault> {
        let rows = sqlx::query!(
            r#"SELECT publisher, message_id, exchange, routing_key, fields, body, not_before
               FROM engine.parked WHERE not_before <= now() ORDER BY not_before LIMIT $1"#,
            SWEEP
        )
        .fetch_all(&mut **tx)
        .await?;
        let due: Vec<Due> = rows.iter().map(|r| (r.publisher.clone(), r.message_id.clone(), r.not_before)).collect();
        let messages = rows.into_iter().enumerate().filter_map(|(place, row)| {
            let wire = readable(WireMessage::from_json(&row.fields, row.body), &row.message_id)?;
            Some((place, Route { exchange: row.exchange, routing_key: row.routing_key }, wire))
        });
        let sent = confirmed(&self.publisher, messages).await;
        let (released, refused): (Vec<_>, Vec<_>) =
            due.into_iter().enumerate().partition(|(place, _)| sent.contains(place));
        let now = OffsetDateTime::now_utc();
        reschedule(tx, &released, now + IN_FLIGHT).await?;
        // What nobody takes makes room: it would otherwise stand at the head of every sweep.
        reschedule(tx, &refused, now + PUSH_BACK).await?;
        metrics::counter!(fields::RELAYED, "kind" => "parked").increment(sent.len() as u64);
        Ok(sent.len())
    }
}

/// Gives rows another time, unless the message has failed again in the meantime and
/// waits for a time of its own.
async fn reschedule(
    tx: &mut sqlx::PgTransaction<'static>,
    rows: &[(usize, Due)],
    not_before: OffsetDateTime,
) -> Result<(), DbFault> {
    let publishers: Vec<_> = rows.iter().map(|(_, due)| due.0.clone()).collect();
    let ids: Vec<_> = rows.iter().map(|(_, due)| due.1.clone()).collect();
    let times: Vec<_> = rows.iter().map(|(_, due)| due.2).collect();
    sqlx::query!(
        "UPDATE engine.parked p SET not_before = $4
         FROM UNNEST($1::text[], $2::text[], $3::timestamptz[]) AS s (publisher, message_id, not_before)
         WHERE p.publisher = s.publisher AND p.message_id = s.message_id AND p.not_before = s.not_before",
        &publishers,
        &ids,
        &times,
        not_before,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn readable(message: Result<WireMessage, WireFault>, id: impl std::fmt::Display) -> Option<Arc<WireMessage>> {
    message.map_err(|fault| tracing::error!(error = %fault, %id, "a stored message cannot be read")).ok().map(Arc::new)
}
