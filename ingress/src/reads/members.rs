//! `GET /api/members`

use millrace::db::ReadTx;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::page::{Cursor, Page};
use super::{ReadFault, moment};

struct Member {
    user_id: String,
    role: String,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

pub(super) async fn read(tx: &mut ReadTx, page: &Page) -> Result<Value, ReadFault> {
    let org = tx.tenant().to_string();
    let rows = sqlx::query_as!(
        Member,
        "SELECT user_id, role, version, created_at, updated_at FROM app.members
         WHERE org_id = $1 AND created_at <= coalesce($2, 'infinity'::timestamptz)
           AND (created_at < coalesce($2, 'infinity'::timestamptz) OR user_id > $3)
         ORDER BY created_at DESC, user_id LIMIT $4",
        org,
        page.created_at(),
        page.id(),
        page.rows(),
    )
    .fetch_all(tx.conn())
    .await?;
    let place = |row: &Member| Cursor { created_at: row.created_at, id: row.user_id.clone() };
    Ok(page.answer(rows, place, shape))
}

fn shape(row: &Member) -> Value {
    json!({
        "user_id": row.user_id,
        "role": row.role,
        "version": row.version,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    })
}
