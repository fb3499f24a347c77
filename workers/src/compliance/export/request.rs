//! `compliance.export`

use std::time::Duration;

use millrace::contract::Timestamp;
use millrace::contract::payloads::{ComplianceExpireExport, ComplianceExport, ComplianceExportPage};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{EXPORT, KEPT};
use crate::compliance::ERASING;

/// A tenant's exports of one scope, and those of one person, are a day apart.
const APART: Duration = Duration::from_secs(24 * 3_600);

/// Begins an export.
#[derive(Debug, Clone, Copy)]
pub struct RequestExport {
    /// Is there a key that signs manifests?
    pub signs: bool,
}

impl Handler for RequestExport {
    type Payload = ComplianceExport;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ComplianceExport>) -> Result<Changed, Fault> {
        if !self.signs {
            return Err(Fault::Reject { code: "exports_not_configured" });
        }
        let (org, person, now) = (tx.tenant().to_string(), &message.payload.person, message.decided_at.moment());
        let recent = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM app.exports WHERE org_id = $1 AND requested_at > $2 AND state <> 'revoked'
                 AND scope = CASE WHEN $3::text IS NULL THEN 'org' ELSE 'subject' END
                 AND subject IS NOT DISTINCT FROM $3) AS "recent!""#,
            org,
            now - APART,
            person.as_deref(),
        )
        .fetch_one(tx.conn())
        .await?;
        if recent {
            return Err(Fault::Reject { code: "export_made_today" });
        }
        if let Some(person) = person
            && !is_known(tx, person).await?
        {
            return Err(Fault::Reject { code: "person_unknown" });
        }
        let id = tx.new_id();
        let expires_at = Timestamp::new(now + KEPT);
        sqlx::query!(
            "INSERT INTO app.exports (org_id, id, scope, subject, requested_at, expires_at)
             VALUES ($1, $2, CASE WHEN $3::text IS NULL THEN 'org' ELSE 'subject' END, $3, $4, $5)",
            org,
            id,
            person.as_deref(),
            now,
            expires_at.moment(),
        )
        .execute(tx.conn())
        .await?;
        Changed::resource(EXPORT, id).with_message(&ComplianceExportPage { export_id: id, page: 0 })?.with_later(
            expires_at,
            id,
            &ComplianceExpireExport { export_id: id },
        )
    }
}

/// Does anything of the tenant name the person? Found as an erasure would find it.
async fn is_known(tx: &mut TenantTx<'_>, person: &str) -> Result<bool, Fault> {
    tx.allow(ERASING).await?;
    let found =
        sqlx::query_scalar!(r#"SELECT app.erase_person($1, false) AS "found!""#, person).fetch_one(tx.conn()).await?;
    Ok(found.as_object().is_some_and(|tables| !tables.is_empty()))
}
