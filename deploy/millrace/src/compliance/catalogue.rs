//! What the database's catalogue says of its tables, and who a pseudonym is. Read in an operator's transaction.

use std::collections::BTreeMap;

use sqlx::PgConnection;

/// Prefix of a column's comment that marks personal data: `COMMENT ON COLUMN … IS 'pii: account'`.
const TAG: &str = "pii:";

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The category of its personal data, as its comment says.
    pub(super) personal: Option<String>,
}

/// Columns by table, such as `app.projects`; partitions are part of their table.
pub(super) type Tables = BTreeMap<String, Vec<Column>>;

/// Every table of the tenants, of the engine and of reference.
pub(super) async fn tables(connection: &mut PgConnection) -> sqlx::Result<Tables> {
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT format('%I.%I', n.nspname, c.relname), a.attname::text, col_description(c.oid, a.attnum)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE n.nspname IN ('app', 'engine', 'ref') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
         ORDER BY 1, a.attnum",
    )
    .fetch_all(connection)
    .await?;
    let mut tables = Tables::new();
    for (table, name, comment) in rows {
        let personal = comment.and_then(|comment| Some(comment.strip_prefix(TAG)?.trim().to_owned()));
        tables.entry(table).or_default().push(Column { name, personal });
    }
    Ok(tables)
}

/// Who is behind the pseudonyms of the audit log, by tenant and pseudonym. `None` where this schema has none: users then
/// stand in the log by their ids.
pub(super) type Subjects = Option<BTreeMap<(String, String), String>>;

pub(super) async fn subjects(connection: &mut PgConnection) -> sqlx::Result<Subjects> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('app.subjects') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !there {
        return Ok(None);
    }
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT org_id, pseudonym::text, subject FROM app.subjects").fetch_all(connection).await?;
    Ok(Some(rows.into_iter().map(|(org, pseudonym, subject)| ((org, pseudonym), subject)).collect()))
}
