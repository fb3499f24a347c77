//! `compliance.cancel_erasure`

use millrace::contract::payloads::ComplianceCancelErasure;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::ERASURE;
use super::open_erasure::{What, open};

/// Takes a planned erasure back; the person's id leaves its row. A tenant's can be taken back until its first step.
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
        if matches!(open(tx, id).await?.what, What::Org { begun: true }) {
            return Err(Fault::Reject { code: "erasure_executing" });
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
