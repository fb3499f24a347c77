//! The outbox: sealed messages, stored in the batch's transaction and published right after its COMMIT.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::amqp::Publisher;
use crate::chaos::{self, Point};
use crate::contract::{Route, WireMessage};
use crate::db::{DbFault, RelayPool};
use crate::telemetry::chain;

/// Batches that may wait for their publish before the lanes have to.
const WAITING_BATCHES: usize = 32;

/// How long deleting published rows may take before they are left to the relay: a database that does not answer must not
/// hold up the lanes.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

/// One stored message.
#[derive(Debug, Clone)]
pub(super) struct OutboxRow {
    pub(super) id: Uuid,
    pub(super) route: Route,
    pub(super) wire: Arc<WireMessage>,
}

/// Stores rows in one statement.
pub(super) async fn store(connection: &mut PgConnection, rows: &[OutboxRow]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let exchanges: Vec<String> = rows.iter().map(|row| row.route.exchange.clone()).collect();
    let keys: Vec<String> = rows.iter().map(|row| row.route.routing_key.clone()).collect();
    let fields: Vec<serde_json::Value> = rows.iter().map(|row| row.wire.fields_json()).collect();
    let bodies: Vec<Vec<u8>> = rows.iter().map(|row| row.wire.body.clone()).collect();
    sqlx::query!(
        "INSERT INTO engine.outbox (id, exchange, routing_key, fields, body)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bytea[])",
        &ids,
        &exchanges,
        &keys,
        &fields,
        &bodies,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Publishes committed rows and then deletes them, beside the lanes. What it does not get done, a crash included,
/// the relay sweeps.
#[derive(Debug, Clone)]
pub struct Outbox {
    batches: mpsc::Sender<Vec<OutboxRow>>,
}

impl Outbox {
    /// Starts publishing. The handle ends when every clone is dropped and the rest is published.
    pub fn start(publisher: Publisher, pool: RelayPool) -> (Self, JoinHandle<()>) {
        let (batches, mut waiting) = mpsc::channel::<Vec<OutboxRow>>(WAITING_BATCHES);
        let task = tokio::spawn(async move {
            let mut rows = Vec::new();
            while let Some(batch) = waiting.recv().await {
                rows.extend(batch);
                while let Ok(more) = waiting.try_recv() {
                    rows.extend(more);
                }
                send(&publisher, &pool, &rows).await;
                rows.clear();
            }
        });
        (Self { batches }, task)
    }

    /// Hands over rows that are committed.
    pub(super) async fn publish(&self, rows: Vec<OutboxRow>) {
        if !rows.is_empty() {
            // Without a receiver the process is ending, and the relay will find the rows.
            let _ = self.batches.send(rows).await;
        }
    }
}

async fn send(publisher: &Publisher, pool: &RelayPool, rows: &[OutboxRow]) {
    let sent = confirmed(publisher, rows.iter().map(|row| (row.id, row.route.clone(), Arc::clone(&row.wire)))).await;
    if sent.is_empty() {
        return;
    }
    let deleted = tokio::time::timeout(DELETE_TIMEOUT, delete(pool, &sent)).await;
    if let Err(fault) = deleted.unwrap_or_else(|_| Err(DbFault::silent())) {
        tracing::warn!(error = chain(&fault), rows = sent.len(), "published outbox rows stay for the relay");
    }
}

/// Publishes all of them at once and returns the ids that the broker confirmed.
pub(super) async fn confirmed<I: Copy>(
    publisher: &Publisher,
    messages: impl Iterator<Item = (I, Route, Arc<WireMessage>)>,
) -> Vec<I> {
    chaos::pass(Point::BeforePublish);
    let publishes = messages.map(|(id, route, wire)| async move { (id, publisher.publish(route, wire).await) });
    let (mut sent, mut failed, mut last) = (Vec::new(), 0_usize, None);
    for (id, result) in join_all(publishes).await {
        match result {
            Ok(()) => sent.push(id),
            Err(fault) => {
                failed += 1;
                last = Some(fault);
            }
        }
    }
    if let Some(fault) = last {
        tracing::warn!(error = %fault, failed, "stored messages were not confirmed; they stay for the relay");
    }
    sent
}

async fn delete(pool: &RelayPool, ids: &[Uuid]) -> Result<(), DbFault> {
    let mut tx = pool.begin().await?;
    sqlx::query!("DELETE FROM engine.outbox WHERE id = ANY($1)", ids).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
