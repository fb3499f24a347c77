//! The one way from a tenant's state to another.

use millrace::db::TenantTx;
use millrace::pipeline::Fault;

/// Moves the tenant in scope from one state to another.
pub(super) async fn change(
    tx: &mut TenantTx<'_>,
    from: &[&str],
    to: &str,
    otherwise: &'static str,
) -> Result<String, Fault> {
    let org = tx.tenant().to_string();
    let from: Vec<String> = from.iter().map(|state| (*state).to_owned()).collect();
    let changed = sqlx::query!(
        "UPDATE app.tenants SET state = $2, closed_at = CASE WHEN $2 = 'closed' THEN now() END
         WHERE org_id = $1 AND state = ANY ($3)",
        org,
        to,
        &from,
    )
    .execute(tx.conn())
    .await?;
    if changed.rows_affected() == 1 { Ok(org) } else { Err(Fault::Reject { code: otherwise }) }
}
