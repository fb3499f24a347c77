//! Legal holds of the tenant in scope.

use millrace::db::TenantTx;
use millrace::pipeline::Fault;

/// Code of what a hold suspends.
pub(super) const LEGAL_HOLD: &str = "legal_hold";

/// Is there a hold that nobody has released?
pub(super) async fn is_held(tx: &mut TenantTx<'_>) -> Result<bool, Fault> {
    let org = tx.tenant().to_string();
    let held = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM engine.holds WHERE org_id = $1 AND released_at IS NULL) AS "held!""#,
        org
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(held)
}
