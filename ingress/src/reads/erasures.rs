//! What became of an erasure.

use millrace::contract::MessageId;
use millrace::db::ReadTx;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ReadFault, moment};

/// Kind of resource that operations of erasures name.
pub(super) const ERASURE: &str = "erasure";

/// How far an erasure is, for whoever asks for its operation.
pub(super) async fn progress(tx: &mut ReadTx, id: &str) -> Result<Option<Value>, ReadFault> {
    let Ok(id) = Uuid::parse_str(id) else { return Ok(None) };
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT scope, state, plan, erased, due_at, settled_at FROM app.erasures WHERE org_id = $1 AND id = $2",
        org,
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| {
        json!({
            "scope": row.scope, "state": row.state, "plan": row.plan, "erased": row.erased, "due_at": moment(row.due_at),
            "settled_at": row.settled_at.map_or(Value::Null, moment),
        })
    }))
}

/// The certificate as its audit line has hashed it.
pub(super) async fn certificate(tx: &mut ReadTx, message: &MessageId) -> Result<Option<String>, ReadFault> {
    let org = tx.tenant().to_string();
    let text = sqlx::query_scalar!(
        "SELECT e.certificate FROM engine.operations o
           JOIN app.erasures e ON e.org_id = o.org_id AND e.id::text = o.resource_id
         WHERE o.org_id = $1 AND o.message_id = $2 AND o.resource_type = 'erasure' LIMIT 1",
        org,
        message.as_str(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(text.flatten())
}
