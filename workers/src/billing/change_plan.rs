//! `billing.change_plan`

use millrace::contract::payloads::{BillingChangePlan, PlanChanged};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::access;

/// Puts the tenant on another plan. Limits follow at once; what is in use beyond them stays, and grows no further.
#[derive(Debug, Clone, Copy)]
pub struct ChangePlan;

impl Handler for ChangePlan {
    type Payload = BillingChangePlan;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingChangePlan>) -> Result<Changed, Fault> {
        let (org, plan) = (tx.tenant().to_string(), &message.payload.plan);
        access::one_at_a_time(tx).await?;
        let changed = sqlx::query!(
            "UPDATE app.tenants SET plan = $2 WHERE org_id = $1 AND EXISTS (SELECT 1 FROM ref.plans WHERE plan = $2)",
            org,
            plan,
        )
        .execute(tx.conn())
        .await?;
        if changed.rows_affected() == 0 {
            return Err(Fault::Reject { code: "plan_unknown" });
        }
        Changed::resource("plan", plan).with_event(&PlanChanged { plan: plan.clone() })
    }
}
