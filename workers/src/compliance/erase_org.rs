//! `compliance.erase_org`: the steps of a tenant's erasure. Each is a bounded transaction that leaves the next one behind, so a
//! process that dies takes no more than its step back, and none is made twice.

use std::time::Duration;

use millrace::contract::Timestamp;
use millrace::contract::payloads::{ComplianceEraseOrg, ErasureStage, OrgErased};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::certificate::{OrgCertificate, digest};
use super::holds::unless_held;
use super::open_erasure::{OpenErasure, What, open};
use super::{ERASING, LONGEST_WAIT, obstacle};

/// Most rows of a step.
const STEP_ROWS: i64 = 1_000;
/// Pause before the certificate: what was on its way when the tombstone was placed arrives, and is denied.
const GRACE: Duration = Duration::from_secs(3);
/// Kind of target in the lines.
const TENANT: &str = "tenant";

/// Erases the tenant in scope step by step; waits while it is under a legal hold.
#[derive(Debug, Clone, Copy)]
pub struct EraseOrg;

impl Handler for EraseOrg {
    type Payload = ComplianceEraseOrg;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ComplianceEraseOrg>) -> Result<Changed, Fault> {
        let ComplianceEraseOrg { erasure_id, stage } = message.payload;
        let erasure = open(tx, erasure_id).await?;
        match (stage, &erasure.what) {
            (_, What::Subject { .. }) => return Err(Fault::Reject { code: "erasure_not_found" }),
            // A step that is sent once more finds that it is done.
            (ErasureStage::Begin, What::Org { begun: true }) => {
                return Err(Fault::Reject { code: "erasure_executing" });
            }
            (ErasureStage::Begin, What::Org { begun: false }) => {
                unless_held(tx).await?;
                entomb(tx, erasure_id, message.decided_at.moment()).await?;
            }
            (_, What::Org { .. }) => unless_held(tx).await?,
        }
        tx.allow(ERASING).await?;
        let more = step(tx, erasure_id, stage == ErasureStage::Begin).await?;
        match stage {
            ErasureStage::Settle => settle(tx, &erasure, message, more).await,
            ErasureStage::Begin | ErasureStage::Continue => next(tx, erasure_id, message.decided_at, more),
        }
    }
}

/// From now on everybody is denied. The row stays, without its name, so that nobody takes the id again.
async fn entomb(tx: &mut TenantTx<'_>, id: Uuid, at: OffsetDateTime) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "UPDATE app.tenants SET state = 'closed', closed_at = coalesce(closed_at, $2), erased_at = $2, name = 'erased'
         WHERE org_id = $1",
        org,
        at,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!("UPDATE app.erasures SET state = 'executing' WHERE org_id = $1 AND id = $2", org, id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes some rows, adds them to what is gone, and says whether more are left.
async fn step(tx: &mut TenantTx<'_>, id: Uuid, beginning: bool) -> Result<bool, Fault> {
    let org = tx.tenant().to_string();
    let step = sqlx::query_scalar!(r#"SELECT app.erase_org($1, $2) AS "step!""#, STEP_ROWS, beginning)
        .fetch_one(tx.conn())
        .await
        .map_err(obstacle::waits)?;
    sqlx::query!(
        "UPDATE app.erasures e SET erased = (
           SELECT coalesce(jsonb_object_agg(t.key, t.total), '{}') FROM (
             SELECT s.key, sum(s.value::bigint) AS total
             FROM (SELECT * FROM jsonb_each_text(e.erased) UNION ALL SELECT * FROM jsonb_each_text($3)) AS s (key, value)
             GROUP BY s.key) AS t)
         WHERE e.org_id = $1 AND e.id = $2",
        org,
        id,
        &step["erased"],
    )
    .execute(tx.conn())
    .await?;
    Ok(step["more"] != Value::Bool(false))
}

fn next(tx: &TenantTx<'_>, erasure_id: Uuid, now: Timestamp, more: bool) -> Result<Changed, Fault> {
    let changed = Changed::resource(TENANT, tx.tenant().to_string());
    if more {
        return changed.with_message(&ComplianceEraseOrg { erasure_id, stage: ErasureStage::Continue });
    }
    let last = ComplianceEraseOrg { erasure_id, stage: ErasureStage::Settle };
    changed.with_later(Timestamp::new(now.moment() + GRACE), erasure_id, &last)
}

/// Makes the certificate when nothing is left and nothing is on its way any more. Persons whose own erasure was still to come
/// are erased with the tenant, and have its certificate.
async fn settle(
    tx: &mut TenantTx<'_>,
    erasure: &OpenErasure,
    message: &Message<ComplianceEraseOrg>,
    more: bool,
) -> Result<Changed, Fault> {
    let org = tx.tenant().to_string();
    let on_its_way = sqlx::query_scalar!(
        r#"SELECT engine.org_on_its_way() + (SELECT count(*) FROM app.exports WHERE org_id = $1 AND gone_at IS NULL)
             AS "on_its_way!""#,
        org,
    );
    if more || on_its_way.fetch_one(tx.conn()).await? > 0 {
        return Err(Fault::Wait { code: "erasure_unfinished", window: LONGEST_WAIT });
    }
    let event = tx.applied_event().ok_or(Fault::Poison { code: "event_unnamed" })?;
    let row = sqlx::query!(
        r#"SELECT e.erased, t.erased_at AS "begun_at!", (SELECT coalesce(jsonb_object_agg(r.place, r.kept), '{}')
             FROM app.org_rows() r WHERE r.kept IS NOT NULL) AS "kept!"
           FROM app.erasures e JOIN app.tenants t USING (org_id) WHERE e.org_id = $1 AND e.id = $2"#,
        org,
        erasure.id,
    )
    .fetch_one(tx.conn())
    .await?;
    let certificate = OrgCertificate {
        org_id: org.clone(),
        erasure_id: erasure.id,
        asked_at: erasure.asked_at,
        begun_at: row.begun_at,
        executed_at: message.decided_at,
        erased: row.erased,
        kept: row.kept,
        audit_event: event,
    };
    let text = certificate.render().ok_or(Fault::Poison { code: "certificate_unrenderable" })?;
    sqlx::query!(
        "UPDATE app.erasures SET state = 'executed', subject = NULL, settled_at = $3, certificate = $4
         WHERE org_id = $1 AND (id = $2 OR scope = 'subject' AND state = 'planned')",
        org,
        erasure.id,
        message.decided_at.moment(),
        text,
    )
    .execute(tx.conn())
    .await?;
    Changed::resource(TENANT, org).certified(digest(&text)).with_event(&OrgErased {})
}
