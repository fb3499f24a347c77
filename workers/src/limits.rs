//! Plan limits, in the transaction of the command that uses them up.
//!
//! A stock is one conditional statement on one row: the lock on it serialises a tenant's metric, and the condition is
//! asked again after the wait, so a limit holds however many workers run. Take metrics in the order of their names.

use millrace::db::{InTenant, TenantTx};
use millrace::pipeline::Fault;

/// Code of the rejection: final, audited, never tried again.
pub const PLAN_LIMIT: &str = "plan_limit";

/// Uses up `units` of a metric, or rejects the command.
///
/// # Errors
/// [`Fault::Reject`] with [`PLAN_LIMIT`] when the tenant's plan does not allow that many; nothing is used up then.
pub async fn take(tx: &mut impl InTenant, metric: &str, units: i64) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    let taken = sqlx::query_scalar!(
        "WITH plan AS MATERIALIZED (SELECT app.limit_of($2) AS most)
         INSERT INTO app.usage_counters AS u (org_id, metric, used)
         SELECT $1, $2, $3 FROM plan WHERE $3 <= plan.most
         ON CONFLICT (org_id, metric) DO UPDATE SET used = u.used + EXCLUDED.used
           WHERE u.used <= (SELECT plan.most FROM plan) - EXCLUDED.used
         RETURNING used",
        org,
        metric,
        units,
    )
    .fetch_optional(tx.conn())
    .await?;
    taken.map(drop).ok_or(Fault::Reject { code: PLAN_LIMIT })
}

/// Gives `units` of a metric back, in the transaction that removes what used them.
///
/// # Errors
/// The statement failed; giving back more than was taken is a bug that the table's check refuses.
pub async fn give_back(tx: &mut TenantTx<'_>, metric: &str, units: i64) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "UPDATE app.usage_counters SET used = used - $3 WHERE org_id = $1 AND metric = $2",
        org,
        metric,
        units,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Does the tenant's plan include a feature that is there or not?
///
/// # Errors
/// The statement failed.
pub async fn includes(tx: &mut TenantTx<'_>, feature: &str) -> Result<bool, Fault> {
    let value = sqlx::query_scalar!("SELECT app.entitlement($1)", feature).fetch_one(tx.conn()).await?;
    Ok(value == Some(serde_json::Value::Bool(true)))
}
