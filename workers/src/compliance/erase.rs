//! `compliance.erase`

use std::time::Duration;

use millrace::contract::Timestamp;
use millrace::contract::payloads::{ComplianceErase, ComplianceExecuteErasure};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use uuid::Uuid;

use super::holds::{LEGAL_HOLD, is_held};
use super::{ERASING, ERASURE};

/// Plans an erasure: what it will take is counted, and a message of the worker's own comes due when the cooling-off is over.
#[derive(Debug, Clone, Copy)]
pub struct PlanErasure {
    /// How long it can be taken back.
    pub cooling_off: Duration,
}

impl Handler for PlanErasure {
    type Payload = ComplianceErase;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ComplianceErase>) -> Result<Changed, Fault> {
        let user_id = &message.payload.user_id;
        if is_held(tx).await? {
            return Err(Fault::Reject { code: LEGAL_HOLD });
        }
        let org = tx.tenant().to_string();
        let planned = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM app.erasures WHERE org_id = $1 AND subject = $2) AS "planned!""#,
            org,
            user_id
        )
        .fetch_one(tx.conn())
        .await?;
        if planned {
            return Err(Fault::Reject { code: "erasure_planned" });
        }
        tx.allow(ERASING).await?;
        let plan = sqlx::query_scalar!(r#"SELECT app.erase_person($1, false) AS "plan!""#, user_id)
            .fetch_one(tx.conn())
            .await?;
        if plan.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Fault::Reject { code: "person_unknown" });
        }
        let id = tx.new_id();
        let pseudonym = pseudonym(tx, user_id).await?;
        let due_at = Timestamp::new(message.decided_at.moment() + self.cooling_off);
        sqlx::query!(
            "INSERT INTO app.erasures (org_id, id, subject, pseudonym, plan, due_at) VALUES ($1, $2, $3, $4, $5, $6)",
            org,
            id,
            user_id,
            pseudonym,
            plan,
            due_at.moment(),
        )
        .execute(tx.conn())
        .await?;
        let next = ComplianceExecuteErasure { erasure_id: id };
        Changed::resource(ERASURE, id).with_later(due_at, id, &next)
    }
}

/// The person's pseudonym, made now where nothing has named it yet: the line of the erasure will.
async fn pseudonym(tx: &mut TenantTx<'_>, user_id: &str) -> Result<Uuid, Fault> {
    let found =
        sqlx::query_scalar!(r#"SELECT pseudonym AS "pseudonym!" FROM app.pseudonyms(ARRAY[$1::text])"#, user_id)
            .fetch_optional(tx.conn())
            .await?;
    found.ok_or(Fault::Reject { code: "person_erased" })
}
