//! `tenants.suspend` and its way back, `tenants.resume`

use millrace::contract::payloads::{TenantResumed, TenantSuspended, TenantsResume, TenantsSuspend};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{TENANT, state};

/// Holds the tenant's commands back, but those that stay open.
#[derive(Debug, Clone, Copy)]
pub struct SuspendTenant;

impl Handler for SuspendTenant {
    type Payload = TenantsSuspend;

    async fn handle(&self, tx: &mut TenantTx<'_>, _: &Message<TenantsSuspend>) -> Result<Changed, Fault> {
        let org = state::change(tx, &["active"], "suspended", "tenant_suspended").await?;
        Changed::resource(TENANT, org).with_event(&TenantSuspended {})
    }
}

/// Ends a suspension. What the tenant owes still bounds its access.
#[derive(Debug, Clone, Copy)]
pub struct ResumeTenant;

impl Handler for ResumeTenant {
    type Payload = TenantsResume;

    async fn handle(&self, tx: &mut TenantTx<'_>, _: &Message<TenantsResume>) -> Result<Changed, Fault> {
        let org = state::change(tx, &["suspended"], "active", "tenant_not_suspended").await?;
        Changed::resource(TENANT, org).with_event(&TenantResumed {})
    }
}
