//! `GET /api/projects`

use millrace::db::ReadTx;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::page::{Cursor, Page};
use super::{ReadFault, moment};

struct Project {
    id: Uuid,
    name: String,
    archived: bool,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

pub(super) async fn read(tx: &mut ReadTx, page: &Page) -> Result<Value, ReadFault> {
    let after = page.id().map(|id| Uuid::parse_str(id).map_err(|_| ReadFault::Cursor)).transpose()?;
    let org = tx.tenant().to_string();
    let rows = sqlx::query_as!(
        Project,
        r#"SELECT id, name, archived_at IS NOT NULL AS "archived!", version, created_at, updated_at FROM app.projects
           WHERE org_id = $1 AND created_at <= coalesce($2, 'infinity'::timestamptz)
             AND (created_at < coalesce($2, 'infinity'::timestamptz) OR id > $3)
           ORDER BY created_at DESC, id LIMIT $4"#,
        org,
        page.created_at(),
        after,
        page.rows(),
    )
    .fetch_all(tx.conn())
    .await?;
    let place = |row: &Project| Cursor { created_at: row.created_at, id: row.id.to_string() };
    Ok(page.answer(rows, place, shape))
}

fn shape(row: &Project) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "archived": row.archived,
        "version": row.version,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    })
}
