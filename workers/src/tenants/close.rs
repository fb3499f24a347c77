//! `tenants.close`

use millrace::contract::payloads::{TenantClosed, TenantsClose};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{TENANT, state};

/// Closes the tenant for good. Its rows stay for the law and the audit.
#[derive(Debug, Clone, Copy)]
pub struct CloseTenant;

impl Handler for CloseTenant {
    type Payload = TenantsClose;

    async fn handle(&self, tx: &mut TenantTx<'_>, _: &Message<TenantsClose>) -> Result<Changed, Fault> {
        let org = state::change(tx, &["active", "suspended"], "closed", "tenant_closed").await?;
        Changed::resource(TENANT, org).with_event(&TenantClosed {})
    }
}
