//! `GET /api/operations/{id}`: what became of a command, for its tenant.

use std::time::Duration;

use millrace::contract::{Gate, MessageId, PublisherName};
use millrace::db::ReadTx;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::page::{parameters, whole};
use super::{ReadFault, Reader, Reads, bounded, closed, moment};
use super::{erasures, exports};

/// Longest wait for an outcome.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Pause before the row is looked for again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// `?wait=` in whole seconds, up to ten; without it nobody waits.
///
/// # Errors
/// [`ReadFault::Wait`] and [`ReadFault::Query`].
pub fn wait_of(query: Option<&str>) -> Result<Duration, ReadFault> {
    let [wait] = parameters(query, ["wait"])?;
    let Some(text) = wait else { return Ok(Duration::ZERO) };
    let wait = whole(text).map(|seconds| Duration::from_secs(seconds.into()));
    wait.filter(|wait| !text.is_empty() && *wait <= LONGEST_WAIT).ok_or(ReadFault::Wait)
}

impl Reads {
    /// What became of a message whose id was made for this tenant, which the caller has verified. Waits for an outcome
    /// up to `wait`, without a connection between one look and the next; when too many wait already, it looks once.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn operation(
        &self,
        reader: Reader<'_>,
        publisher: &PublisherName,
        message: &MessageId,
        wait: Duration,
    ) -> Result<Value, ReadFault> {
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        let mut pause = FIRST_PAUSE;
        let mut waiting = None;
        loop {
            if let Some(outcome) = bounded(self.look(reader, publisher, message)).await? {
                return Ok(outcome);
            }
            if waiting.is_none() {
                waiting = self.waiting.try_acquire().ok();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || waiting.is_none() {
                return Ok(json!({ "status": "pending" }));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Who is removed while it waits is told so: each look asks anew.
    async fn look(
        &self,
        reader: Reader<'_>,
        publisher: &PublisherName,
        message: &MessageId,
    ) -> Result<Option<Value>, ReadFault> {
        // Whoever closed its tenant, or made it, sees that it did.
        let mut tx = self.open(reader, None, Gate::Always).await?;
        let mut outcome = read(&mut tx, publisher, message).await?;
        if let Some(applied) = outcome.as_mut().filter(|found| found["resource_type"] == erasures::ERASURE)
            && let Some(id) = applied["resource_id"].as_str().map(str::to_owned)
            && let Some(progress) = erasures::progress(&mut tx, &id).await?
        {
            applied["erasure"] = progress;
        }
        if let Some(applied) = outcome.as_mut().filter(|found| found["resource_type"] == exports::EXPORT)
            && let Some(id) = applied["resource_id"].as_str().map(str::to_owned)
            && let Some(progress) = exports::progress(&mut tx, &id).await?
        {
            applied["export"] = progress;
        }
        Ok(match outcome {
            Some(outcome) => Some(closed(tx, outcome).await),
            None => {
                tx.end().await?;
                None
            }
        })
    }
}

async fn read(tx: &mut ReadTx, publisher: &PublisherName, message: &MessageId) -> Result<Option<Value>, ReadFault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT outcome, code, resource_type, resource_id, settled_at FROM engine.operations
         WHERE org_id = $1 AND message_id = $3 ORDER BY publisher = $2 DESC LIMIT 1",
        org,
        publisher.as_str(),
        message.as_str(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| {
        let settled_at = moment(row.settled_at);
        match row.outcome.as_str() {
            "applied" => json!({
                "status": "applied", "settled_at": settled_at,
                "resource_type": row.resource_type, "resource_id": row.resource_id,
            }),
            "rejected" | "denied" => json!({ "status": row.outcome, "settled_at": settled_at, "code": row.code }),
            _ => json!({ "status": row.outcome, "settled_at": settled_at }),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_unasked_or_longer_than_ten_seconds() {
        let seconds = |query| wait_of(query).map(|wait| wait.as_secs()).map_err(|fault| fault.code());
        assert_eq!(seconds(None), Ok(0));
        assert_eq!(seconds(Some("wait=0")), Ok(0));
        assert_eq!(seconds(Some("wait=10")), Ok(10));
        for wrong in ["wait=", "wait=11", "wait=-1", "wait=1.5", "wait=x"] {
            assert_eq!(seconds(Some(wrong)), Err("invalid_wait"), "{wrong}");
        }
        assert_eq!(seconds(Some("wait=1&wait=1")), Err("invalid_query"));
        assert_eq!(seconds(Some("limit=1")), Err("invalid_query"));
    }
}
