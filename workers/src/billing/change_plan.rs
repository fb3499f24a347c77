//! `billing.change_plan`

use millrace::contract::ActorKind;
use millrace::contract::payloads::{BillingChangePlan, PlanChanged};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

/// Puts the tenant on another plan; a user only on one that is for self-service. Limits follow at once; what is in use beyond them stays, and grows no further.
#[derive(Debug, Clone, Copy)]
pub struct ChangePlan;

impl Handler for ChangePlan {
    type Payload = BillingChangePlan;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingChangePlan>) -> Result<Changed, Fault> {
        let (org, plan) = (tx.tenant().to_string(), &message.payload.plan);
        let self_service = sqlx::query_scalar!("SELECT self_service FROM ref.plans WHERE plan = $1", plan)
            .fetch_optional(tx.conn())
            .await?
            .ok_or(Fault::Reject { code: "plan_unknown" })?;
        if !self_service && tx.principal().kind == ActorKind::User {
            return Err(Fault::Reject { code: "plan_not_self_service" });
        }
        sqlx::query!("UPDATE app.tenants SET plan = $2 WHERE org_id = $1", org, plan).execute(tx.conn()).await?;
        Changed::resource("plan", plan).with_event(&PlanChanged { plan: plan.clone() })
    }
}
