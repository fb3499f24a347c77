//! `compliance.expire_export` and `compliance.export_expired`: first the objects go, then the row says so.

use std::time::Duration;

use millrace::contract::payloads::{ComplianceExpireExport, ComplianceExportExpired};
use millrace::db::TenantTx;
use millrace::exports::ExportStore;
use millrace::pipeline::{Answered, CallFault, Changed, Egress, Fault, Handler, Message};
use uuid::Uuid;

use super::{EXPORT, waits};
use crate::compliance::LONGEST_WAIT;

/// Deletes what is in the store.
#[derive(Debug)]
pub struct ExpireExport(ExportStore);

impl ExpireExport {
    /// Deletes from this store.
    pub fn new(store: ExportStore) -> Self {
        Self(store)
    }
}

impl Egress for ExpireExport {
    type Payload = ComplianceExpireExport;
    type Request = Uuid;
    type Answer = ComplianceExportExpired;

    /// Many objects take their time; what is deleted by then is deleted.
    const TIMEOUT: Duration = Duration::from_secs(300);

    async fn read(_: &mut TenantTx<'_>, message: &Message<ComplianceExpireExport>) -> Result<Uuid, Fault> {
        Ok(message.payload.export_id)
    }

    async fn call(&self, export_id: Uuid) -> Result<Answered<ComplianceExportExpired>, CallFault> {
        self.0.delete_export(export_id).await.map_err(|fault| waits(&fault, LONGEST_WAIT))?;
        Ok(Answered::resource(EXPORT, export_id, ComplianceExportExpired { export_id }))
    }
}

/// Notes that nothing is left.
#[derive(Debug, Clone, Copy)]
pub struct NoteExpired;

impl Handler for NoteExpired {
    type Payload = ComplianceExportExpired;

    async fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<ComplianceExportExpired>,
    ) -> Result<Changed, Fault> {
        let (org, id) = (tx.tenant().to_string(), message.payload.export_id);
        // One that was revoked stays so: it says why it is gone.
        sqlx::query!(
            "UPDATE app.exports SET after_key = NULL, gone_at = coalesce(gone_at, $3),
               state = CASE state WHEN 'revoked' THEN state ELSE 'expired' END
             WHERE org_id = $1 AND id = $2",
            org,
            id,
            message.decided_at.moment(),
        )
        .execute(tx.conn())
        .await?;
        Ok(Changed::resource(EXPORT, id))
    }
}
