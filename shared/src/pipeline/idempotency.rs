//! Reserve: an idempotency key stands for one message. The same key with another body is another message.

use super::fate::Fault;
use crate::contract::Envelope;
use crate::db::TenantTx;

/// Keeps the key of a command in the transaction of its effect. A rejected command leaves none: it changed nothing, so
/// its key may be used again.
pub(super) async fn reserve(tx: &mut TenantTx<'_>, envelope: &Envelope) -> Result<(), Fault> {
    let Some(key) = envelope.idempotency_key() else { return Ok(()) };
    let (org, actor) = (tx.tenant().to_string(), envelope.principal.actor_id());
    let kept = sqlx::query_scalar!(
        "INSERT INTO app.idempotency_keys AS k (org_id, actor, key, message_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, actor, key) DO UPDATE SET message_id = k.message_id RETURNING k.message_id",
        org,
        actor,
        key,
        envelope.message_id.as_str(),
    )
    .fetch_one(tx.conn())
    .await?;
    if kept == envelope.message_id.as_str() { Ok(()) } else { Err(Fault::Reject { code: "idempotency_key_reused" }) }
}
