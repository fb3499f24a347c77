//! `tenants.create`

use millrace::contract::payloads::{TenantCreated, TenantsCreate};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::TENANT;

/// Makes the tenant that the envelope names.
#[derive(Debug, Clone, Copy)]
pub struct CreateTenant;

impl Handler for CreateTenant {
    type Payload = TenantsCreate;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<TenantsCreate>) -> Result<Changed, Fault> {
        let TenantsCreate { name, plan } = &message.payload;
        if tx.tenant().is_operator() {
            return Err(Fault::Reject { code: "tenant_reserved" });
        }
        if let Some(plan) = plan {
            let known =
                sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM ref.plans WHERE plan = $1) AS "known!""#, plan)
                    .fetch_one(tx.conn())
                    .await?;
            if !known {
                return Err(Fault::Reject { code: "plan_unknown" });
            }
        }
        let org = tx.tenant().to_string();
        let made = sqlx::query!(
            "INSERT INTO app.tenants (org_id, name, plan) VALUES ($1, $2, coalesce($3, 'free')) ON CONFLICT DO NOTHING",
            org,
            name,
            plan.as_deref(),
        )
        .execute(tx.conn())
        .await?;
        if made.rows_affected() == 0 {
            return Err(Fault::Reject { code: "tenant_exists" });
        }
        // Commands that came before their tenant need not wait for their next turn.
        sqlx::query_scalar!("SELECT engine.wake('tenant_unknown')").fetch_one(tx.conn()).await?;
        Changed::resource(TENANT, org).with_event(&TenantCreated {})
    }
}
