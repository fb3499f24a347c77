//! Members of a tenant. One handler a file.

mod remove;
mod set_role;

use millrace::db::TenantTx;
use millrace::pipeline::Fault;

pub use remove::RemoveMember;
pub use set_role::SetMemberRole;

/// Kind of target in audit lines and operations.
const MEMBER: &str = "member";
/// The metric that each member with a row uses one of.
const METRIC: &str = "members";

/// Lets one transaction at a time change the tenant's members. A row that is not there cannot be locked, so two that add
/// one member would both count it, and one that is removed could be given a role in the same moment.
async fn one_at_a_time(tx: &mut TenantTx<'_>) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!("SELECT org_id FROM app.tenants WHERE org_id = $1 FOR NO KEY UPDATE", org)
        .fetch_all(tx.conn())
        .await?;
    Ok(())
}
