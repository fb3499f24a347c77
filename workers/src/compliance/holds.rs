//! Legal holds of the tenant in scope. A hold is placed in the tenant's turn, so never beside a handler: it comes before
//! an erasure or a step of one, which then waits, or after it.

use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::LONGEST_WAIT;

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

/// Lets an erasure go on, unless the tenant is held: then it waits for the last release.
pub(super) async fn unless_held(tx: &mut TenantTx<'_>) -> Result<(), Fault> {
    match is_held(tx).await? {
        true => Err(Fault::Wait { code: LEGAL_HOLD, window: LONGEST_WAIT }),
        false => Ok(()),
    }
}
