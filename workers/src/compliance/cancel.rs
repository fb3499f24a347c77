//! `compliance.cancel_erasure`

use millrace::contract::payloads::ComplianceCancelErasure;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::ERASURE;

/// Takes a planned erasure back; the person's id leaves its row.
#[derive(Debug, Clone, Copy)]
pub struct CancelErasure;

impl Handler for CancelErasure {
    type Payload = ComplianceCancelErasure;

    async fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<ComplianceCancelErasure>,
    ) -> Result<Changed, Fault> {
        let (org, id) = (tx.tenant().to_string(), message.payload.erasure_id);
        let state = sqlx::query_scalar!("SELECT state FROM app.erasures WHERE org_id = $1 AND id = $2", org, id)
            .fetch_optional(tx.conn())
            .await?;
        match state.as_deref() {
            Some("planned") => {}
            Some("canceled") => return Err(Fault::Reject { code: "erasure_canceled" }),
            Some(_) => return Err(Fault::Reject { code: "erasure_executed" }),
            None => return Err(Fault::Reject { code: "erasure_not_found" }),
        }
        sqlx::query!(
            "UPDATE app.erasures SET state = 'canceled', subject = NULL, settled_at = $3 WHERE org_id = $1 AND id = $2",
            org,
            id,
            message.decided_at.moment(),
        )
        .execute(tx.conn())
        .await?;
        Ok(Changed::resource(ERASURE, id))
    }
}
