//! `compliance.erase`

use std::time::Duration;

use millrace::contract::Timestamp;
use millrace::contract::payloads::{
    ComplianceErase, ComplianceEraseOrg, ComplianceExecuteErasure, ErasureScope, ErasureStage,
};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use uuid::Uuid;

use super::holds::{LEGAL_HOLD, is_held};
use super::{ERASING, ERASURE};

/// One erasure of a person, or of the tenant, at a time.
const PLANNED: &str = "erasure_planned";

/// Plans an erasure: what it will take is counted, and a message of the worker's own comes due when the cooling-off is over.
#[derive(Debug, Clone, Copy)]
pub struct PlanErasure {
    /// How long it can be taken back.
    pub cooling_off: Duration,
}

impl Handler for PlanErasure {
    type Payload = ComplianceErase;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ComplianceErase>) -> Result<Changed, Fault> {
        if is_held(tx).await? {
            return Err(Fault::Reject { code: LEGAL_HOLD });
        }
        let due_at = Timestamp::new(message.decided_at.moment() + self.cooling_off);
        match &message.payload.scope {
            ErasureScope::Subject { user_id } => plan_person(tx, user_id, due_at).await,
            ErasureScope::Org { org_id } => plan_org(tx, org_id, due_at).await,
        }
    }
}

/// Somebody who is erased already, and whom nothing has named since, has the last erasure with its certificate for an answer.
async fn plan_person(tx: &mut TenantTx<'_>, user_id: &str, due_at: Timestamp) -> Result<Changed, Fault> {
    let org = tx.tenant().to_string();
    let planned = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM app.erasures WHERE org_id = $1 AND subject = $2) AS "planned!""#,
        org,
        user_id
    )
    .fetch_one(tx.conn())
    .await?;
    if planned {
        return Err(Fault::Reject { code: PLANNED });
    }
    tx.allow(ERASING).await?;
    let plan =
        sqlx::query_scalar!(r#"SELECT app.erase_person($1, false) AS "plan!""#, user_id).fetch_one(tx.conn()).await?;
    let last = last_executed(tx, user_id).await?;
    if plan.as_object().is_none_or(serde_json::Map::is_empty) {
        let (id, _) = last.ok_or(Fault::Reject { code: "person_unknown" })?;
        return Ok(Changed::resource(ERASURE, id));
    }
    let id = tx.new_id();
    let pseudonym = pseudonym(tx, user_id, last).await?;
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
    Changed::resource(ERASURE, id).with_later(due_at, id, &ComplianceExecuteErasure { erasure_id: id })
}

/// The person's last erasure that was executed, and the pseudonym that it was under.
async fn last_executed(tx: &mut TenantTx<'_>, user_id: &str) -> Result<Option<(Uuid, Option<Uuid>)>, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT id, pseudonym FROM app.erasures WHERE org_id = $1 AND subject_tag = app.subject_tag($2)
         ORDER BY settled_at DESC LIMIT 1",
        org,
        user_id
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| (row.id, row.pseudonym)))
}

/// The person's pseudonym, made now where nothing has named it yet: the line of the erasure will. Who was erased before gets
/// no mapping any more, so the line has the pseudonym of then, or one that stands for nobody.
async fn pseudonym(tx: &mut TenantTx<'_>, user_id: &str, last: Option<(Uuid, Option<Uuid>)>) -> Result<Uuid, Fault> {
    let found =
        sqlx::query_scalar!(r#"SELECT pseudonym AS "pseudonym!" FROM app.pseudonyms(ARRAY[$1::text])"#, user_id)
            .fetch_optional(tx.conn())
            .await?;
    Ok(found.or(last.and_then(|(_, pseudonym)| pseudonym)).unwrap_or_else(|| tx.new_id()))
}

async fn plan_org(tx: &mut TenantTx<'_>, org_id: &str, due_at: Timestamp) -> Result<Changed, Fault> {
    let org = tx.tenant().to_string();
    if org_id != org {
        return Err(Fault::Reject { code: "org_mismatch" });
    }
    let planned = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM app.erasures WHERE org_id = $1 AND scope = 'org'
             AND state IN ('planned', 'executing')) AS "planned!""#,
        org
    )
    .fetch_one(tx.conn())
    .await?;
    if planned {
        return Err(Fault::Reject { code: PLANNED });
    }
    tx.allow(ERASING).await?;
    let plan = sqlx::query_scalar!(
        r#"SELECT coalesce(jsonb_object_agg(place, amount), '{}') AS "plan!" FROM app.org_rows() WHERE kept IS NULL"#
    )
    .fetch_one(tx.conn())
    .await?;
    let id = tx.new_id();
    sqlx::query!(
        "INSERT INTO app.erasures (org_id, id, scope, plan, due_at) VALUES ($1, $2, 'org', $3, $4)",
        org,
        id,
        plan,
        due_at.moment(),
    )
    .execute(tx.conn())
    .await?;
    let begin = ComplianceEraseOrg { erasure_id: id, stage: ErasureStage::Begin };
    Changed::resource(ERASURE, id).with_later(due_at, id, &begin)
}
