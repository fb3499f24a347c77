//! `GET /api/settings`

use millrace::db::ReadTx;
use serde_json::{Value, json};

use super::ReadFault;

/// A tenant that has set nothing yet has version 0, as its first change expects.
pub(super) async fn read(tx: &mut ReadTx) -> Result<Value, ReadFault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!("SELECT entries, version FROM app.settings WHERE org_id = $1", org)
        .fetch_optional(tx.conn())
        .await?;
    let (entries, version) = row.map_or_else(|| (json!({}), 0), |row| (row.entries, row.version));
    Ok(json!({ "entries": entries, "version": version }))
}
