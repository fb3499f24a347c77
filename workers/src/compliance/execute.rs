//! `compliance.execute_erasure`

use std::time::Duration;

use millrace::contract::payloads::{ComplianceExecuteErasure, PersonErased};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ERASING;
use super::certificate::Certificate;
use super::holds::{LEGAL_HOLD, is_held};

/// How long a hold may suspend an erasure. It is no failure, so practically for ever.
const LONGEST_HOLD: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Kind of target in the line: the pseudonym whose mapping is gone.
const SUBJECT: &str = "subject";

/// Erases what was planned, unless it was canceled; waits while the tenant is under a legal hold.
#[derive(Debug, Clone, Copy)]
pub struct ExecuteErasure;

impl Handler for ExecuteErasure {
    type Payload = ComplianceExecuteErasure;

    async fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<ComplianceExecuteErasure>,
    ) -> Result<Changed, Fault> {
        let Planned { id, user_id, pseudonym, asked_at } = planned(tx, message.payload.erasure_id).await?;
        if is_held(tx).await? {
            return Err(Fault::Wait { code: LEGAL_HOLD, window: LONGEST_HOLD });
        }
        let event = tx.applied_event().ok_or(Fault::Poison { code: "event_unnamed" })?;
        // The plan names the person until it is settled, and the erasure looks into it too.
        settle(tx, id, message.decided_at.moment()).await?;
        tx.allow(ERASING).await?;
        let erased = sqlx::query_scalar!(r#"SELECT app.erase_person($1, true) AS "erased!""#, user_id)
            .fetch_one(tx.conn())
            .await?;
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
        let digest = Certificate::digest(&text);
        certify(tx, id, &text).await?;
        Changed::resource(SUBJECT, pseudonym).certified(digest).with_event(&PersonErased { user_id })
    }
}

/// An erasure that is still to come.
pub(super) struct Planned {
    id: Uuid,
    user_id: String,
    pseudonym: Uuid,
    asked_at: OffsetDateTime,
}

pub(super) async fn planned(tx: &mut TenantTx<'_>, id: Uuid) -> Result<Planned, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT subject, pseudonym, state, created_at FROM app.erasures WHERE org_id = $1 AND id = $2",
        org,
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    let row = row.ok_or(Fault::Reject { code: "erasure_not_found" })?;
    match (row.state.as_str(), row.subject) {
        ("planned", Some(user_id)) => Ok(Planned { id, user_id, pseudonym: row.pseudonym, asked_at: row.created_at }),
        ("canceled", _) => Err(Fault::Reject { code: "erasure_canceled" }),
        _ => Err(Fault::Reject { code: "erasure_executed" }),
    }
}

async fn settle(tx: &mut TenantTx<'_>, id: Uuid, at: OffsetDateTime) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "UPDATE app.erasures SET state = 'executed', subject = NULL, settled_at = $3 WHERE org_id = $1 AND id = $2",
        org,
        id,
        at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn certify(tx: &mut TenantTx<'_>, id: Uuid, text: &str) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!("UPDATE app.erasures SET certificate = $3 WHERE org_id = $1 AND id = $2", org, id, text)
        .execute(tx.conn())
        .await?;
    Ok(())
}
