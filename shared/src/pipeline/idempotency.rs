//! Reserve: an idempotency key stands for one message. The same key with another body is another message.

use super::fate::Fault;
use crate::contract::Envelope;
use crate::db::TenantTx;

/// What a key stands for already.
pub(super) enum Reserved {
    /// Nothing before this message, or the message has no key.
    Fresh,
    /// This very message, applied over another publisher's key.
    Known,
}

/// Keeps the key of a command in the transaction of its effect.
pub(super) async fn reserve(tx: &mut TenantTx<'_>, envelope: &Envelope) -> Result<Reserved, Fault> {
    let Some(key) = envelope.idempotency_key() else { return Ok(Reserved::Fresh) };
    let (org, actor) = (tx.tenant().to_string(), envelope.principal.actor_id());
    let inserted = sqlx::query!(
        "INSERT INTO app.idempotency_keys (org_id, actor, key, message_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, actor, key) DO NOTHING",
        org,
        actor,
        key,
        envelope.message_id.as_str(),
    )
    .execute(tx.conn())
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Reserved::Fresh);
    }
    let kept = sqlx::query_scalar!(
        "SELECT message_id FROM app.idempotency_keys WHERE org_id = $1 AND actor = $2 AND key = $3",
        org,
        actor,
        key,
    )
    .fetch_one(tx.conn())
    .await?;
    if kept == envelope.message_id.as_str() {
        Ok(Reserved::Known)
    } else {
        Err(Fault::Reject { code: "idempotency_key_reused" })
    }
}

/// Gives the key of a command back that has failed after all: what comes after it in this run must not find a key that
/// the rollback takes away. A rejected command leaves none, so its key may be used again with another body.
pub(super) async fn release(tx: &mut TenantTx<'_>, envelope: &Envelope) -> Result<(), Fault> {
    let Some(key) = envelope.idempotency_key() else { return Ok(()) };
    let (org, actor) = (tx.tenant().to_string(), envelope.principal.actor_id());
    sqlx::query!("DELETE FROM app.idempotency_keys WHERE org_id = $1 AND actor = $2 AND key = $3", org, actor, key)
        .execute(tx.conn())
        .await?;
    Ok(())
}
