//! `compliance.export_written`: notes a page and sends the next, or ends the export.

use millrace::contract::Timestamp;
use millrace::contract::payloads::{
    ComplianceExpireExport, ComplianceExportPage, ComplianceExportWritten, ExportWritten, WrittenManifest, WrittenRows,
};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{EXPORT, KEPT};

/// Notes what was written.
#[derive(Debug, Clone, Copy)]
pub struct NoteWritten;

impl Handler for NoteWritten {
    type Payload = ComplianceExportWritten;

    async fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<ComplianceExportWritten>,
    ) -> Result<Changed, Fault> {
        match &message.payload.written {
            ExportWritten::Rows(rows) => note_rows(tx, message, rows).await,
            ExportWritten::Manifest(manifest) => finish(tx, message, manifest).await,
            ExportWritten::Nothing => Ok(Changed::resource(EXPORT, message.payload.export_id)),
        }
    }
}

/// It was revoked or has expired meanwhile, or this page of it is noted already: a page that looks again finds which, and deletes
/// what was written after the deletion.
fn look_again(message: &Message<ComplianceExportWritten>) -> Result<Changed, Fault> {
    let ComplianceExportWritten { export_id, page, .. } = message.payload;
    Changed::resource(EXPORT, export_id).with_message(&ComplianceExportPage { export_id, page })
}

async fn note_rows(
    tx: &mut TenantTx<'_>,
    message: &Message<ComplianceExportWritten>,
    rows: &WrittenRows,
) -> Result<Changed, Fault> {
    let (org, id, page) = (tx.tenant().to_string(), message.payload.export_id, message.payload.page);
    let noted = sqlx::query!(
        "UPDATE app.exports SET pages = pages + 1, place = $4, after_key = $5, row_count = row_count + $6,
           byte_count = byte_count + $7
         WHERE org_id = $1 AND id = $2 AND state = 'running' AND pages = $3",
        org,
        id,
        page,
        rows.place,
        rows.last_key.as_deref(),
        rows.rows,
        rows.bytes,
    )
    .execute(tx.conn())
    .await?;
    if noted.rows_affected() == 0 {
        return look_again(message);
    }
    sqlx::query!(
        "INSERT INTO app.export_files (org_id, export_id, page, name, object, place, row_count, byte_count, sha256, read_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        org,
        id,
        page,
        rows.name,
        rows.object,
        rows.place,
        rows.rows,
        rows.bytes,
        rows.sha256,
        message.received_at.moment(),
    )
    .execute(tx.conn())
    .await?;
    Changed::resource(EXPORT, id).with_message(&ComplianceExportPage { export_id: id, page: page + 1 })
}

async fn finish(
    tx: &mut TenantTx<'_>,
    message: &Message<ComplianceExportWritten>,
    manifest: &WrittenManifest,
) -> Result<Changed, Fault> {
    let (org, id, now) = (tx.tenant().to_string(), message.payload.export_id, message.decided_at.moment());
    let expires_at = Timestamp::new(now + KEPT);
    let done = sqlx::query!(
        "UPDATE app.exports SET state = 'ready', after_key = NULL, finished_at = $4, expires_at = $5, manifest_object = $6,
           manifest_bytes = $7, manifest_sha256 = $8, signature = $9
         WHERE org_id = $1 AND id = $2 AND state = 'running' AND pages = $3",
        org,
        id,
        message.payload.page,
        now,
        expires_at.moment(),
        manifest.object,
        manifest.bytes,
        manifest.sha256,
        manifest.signature,
    )
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 {
        return look_again(message);
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(&manifest.sha256, &mut digest).map_err(|_| Fault::Poison { code: "manifest_hash" })?;
    Changed::resource(EXPORT, id).certified(digest).with_later(
        expires_at,
        id,
        &ComplianceExpireExport { export_id: id },
    )
}
