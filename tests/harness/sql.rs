//! What the tables hold, seen by the superuser, whom no policy bounds.

use sqlx::postgres::PgPool;

/// Counts rows.
///
/// # Panics
/// When the statement fails.
pub(crate) async fn count(pool: &PgPool, statement: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("a count")
}
