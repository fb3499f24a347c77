//! How far an export is, and what its archive is made of.

use millrace::contract::MessageId;
use millrace::db::ReadTx;
use millrace::exports::{MANIFEST, Part, SIGNATURE};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ReadFault, moment};

/// Kind of resource that operations of exports name.
pub(super) const EXPORT: &str = "export";

/// What an archive is made of.
#[derive(Debug)]
pub struct Prepared {
    /// The export.
    pub export: Uuid,
    /// When it was finished, in unix seconds.
    pub finished: u64,
    /// Its files, manifest and signature first.
    pub parts: Vec<Part>,
    /// The manifest's name in the store, and its bytes: where it is gone, everything is.
    pub manifest: (String, u64),
}

/// How far an export is, for whoever asks for its operation.
pub(super) async fn progress(tx: &mut ReadTx, id: &str) -> Result<Option<Value>, ReadFault> {
    let Ok(id) = Uuid::parse_str(id) else { return Ok(None) };
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT scope, state, pages, place, row_count, byte_count, requested_at, finished_at, expires_at FROM app.exports
         WHERE org_id = $1 AND id = $2",
        org,
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    let now = OffsetDateTime::now_utc();
    Ok(row.map(|row| {
        let late = row.state == "ready" && row.expires_at <= now;
        json!({
            "scope": row.scope, "state": if late { "expired" } else { &row.state }, "files": row.pages,
            "table": row.place, "rows": row.row_count, "bytes": row.byte_count, "requested_at": moment(row.requested_at),
            "finished_at": row.finished_at.map_or(Value::Null, moment), "expires_at": moment(row.expires_at),
        })
    }))
}

/// The archive of the export that a message asked for; `None` when it asked for none.
pub(super) async fn prepared(tx: &mut ReadTx, message: &MessageId) -> Result<Option<Prepared>, ReadFault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT e.id, e.state, e.expires_at, e.finished_at, e.manifest_object, e.manifest_bytes, e.signature
         FROM engine.operations o JOIN app.exports e ON e.org_id = o.org_id AND e.id::text = o.resource_id
         WHERE o.org_id = $1 AND o.message_id = $2 AND o.resource_type = 'export' LIMIT 1",
        org,
        message.as_str(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    match row.state.as_str() {
        "running" => return Err(ReadFault::NotReady),
        "ready" if row.expires_at > OffsetDateTime::now_utc() => {}
        "revoked" => return Err(ReadFault::Gone("export_revoked")),
        _ => return Err(ReadFault::Gone("export_expired")),
    }
    let (Some(object), Some(bytes), Some(text)) = (row.manifest_object, row.manifest_bytes, row.signature) else {
        return Err(ReadFault::NotReady);
    };
    let manifest = (object.clone(), bytes.unsigned_abs());
    let mut parts = vec![
        Part::Object { name: MANIFEST.to_owned(), object, bytes: bytes.unsigned_abs() },
        Part::Text { name: SIGNATURE.to_owned(), text },
    ];
    let files = sqlx::query!(
        "SELECT name, object, byte_count FROM app.export_files WHERE org_id = $1 AND export_id = $2 ORDER BY page",
        org,
        row.id
    )
    .fetch_all(tx.conn())
    .await?;
    parts.extend(files.into_iter().map(|file| Part::Object {
        name: file.name,
        object: file.object,
        bytes: file.byte_count.unsigned_abs(),
    }));
    let finished = row.finished_at.map_or(0, |at| at.unix_timestamp().unsigned_abs());
    Ok(Some(Prepared { export: row.id, finished, parts, manifest }))
}
