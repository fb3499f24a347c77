//! `compliance.execute_erasure`

use millrace::contract::payloads::{ComplianceExecuteErasure, PersonErased};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ERASING;
use super::certificate::{Certificate, digest};
use super::holds::unless_held;
use super::obstacle;
use super::open_erasure::{OpenErasure, What, open};

/// Kind of target in the line: the pseudonym whose mapping is gone.
const SUBJECT: &str = "subject";

/// Erases the person that was planned, unless it was canceled; waits while the tenant is under a legal hold.
#[derive(Debug, Clone, Copy)]
pub struct ExecuteErasure;

impl Handler for ExecuteErasure {
    type Payload = ComplianceExecuteErasure;

    async fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<ComplianceExecuteErasure>,
    ) -> Result<Changed, Fault> {
        let OpenErasure { id, what, asked_at } = open(tx, message.payload.erasure_id).await?;
        let What::Subject { user_id, pseudonym } = what else {
            return Err(Fault::Reject { code: "erasure_not_found" });
        };
        unless_held(tx).await?;
        let event = tx.applied_event().ok_or(Fault::Poison { code: "event_unnamed" })?;
        // The plan names the person until it is settled, and the erasure looks into it too.
        let tag = settle(tx, id, message.decided_at.moment()).await?;
        tx.allow(ERASING).await?;
        let erased = sqlx::query_scalar!(r#"SELECT app.erase_person($1, true) AS "erased!""#, user_id)
            .fetch_one(tx.conn())
            .await
            .map_err(obstacle::waits)?;
        let certificate = Certificate {
            org_id: tx.tenant().to_string(),
            erasure_id: id,
            pseudonym,
            asked_at,
            executed_at: message.decided_at,
            erased,
            audit_event: event,
        };
        let text = certificate.render().ok_or(Fault::Poison { code: "certificate_unrenderable" })?;
        certify(tx, &certificate, &text).await?;
        let changed = Changed::resource(SUBJECT, pseudonym).certified(digest(&text));
        let changed = tag.into_iter().fold(changed, Changed::entombed);
        changed.with_event(&PersonErased { user_id })
    }
}

/// Ends the plan; the keyed tag of the person takes the place of its id.
async fn settle(tx: &mut TenantTx<'_>, id: Uuid, at: OffsetDateTime) -> Result<Option<[u8; 32]>, Fault> {
    let org = tx.tenant().to_string();
    let tag = sqlx::query_scalar!(
        "UPDATE app.erasures SET state = 'executed', subject_tag = app.subject_tag(subject), subject = NULL, settled_at = $3
         WHERE org_id = $1 AND id = $2 RETURNING subject_tag",
        org,
        id,
        at,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(tag.and_then(|tag| tag.try_into().ok()))
}

async fn certify(tx: &mut TenantTx<'_>, done: &Certificate, text: &str) -> Result<(), Fault> {
    sqlx::query!(
        "UPDATE app.erasures SET certificate = $3, erased = $4 WHERE org_id = $1 AND id = $2",
        done.org_id,
        done.erasure_id,
        text,
        done.erased,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
