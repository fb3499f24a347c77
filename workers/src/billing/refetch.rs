//! `billing.refetch`: asks Stripe for a subscription about which two events of one second disagree.

use std::time::Duration;

use millrace::contract::payloads::{BillingRefetch, BillingRefetched};
use millrace::db::TenantTx;
use millrace::pipeline::{Answered, CallFault, Egress, Fault, Message};
use millrace::stripe::StripeClient;

/// How long an outage of the provider is waited for.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 3_600);

/// Asks, and hands what Stripe says to the billing worker.
#[derive(Debug)]
pub struct Refetch(StripeClient);

impl Refetch {
    /// Asks over this client.
    pub fn new(client: StripeClient) -> Self {
        Self(client)
    }
}

impl Egress for Refetch {
    type Payload = BillingRefetch;
    type Request = BillingRefetch;
    type Answer = BillingRefetched;

    /// A tie that something newer has settled is nothing to ask about.
    async fn read(tx: &mut TenantTx<'_>, message: &Message<BillingRefetch>) -> Result<BillingRefetch, Fault> {
        let (org, wanted) = (tx.tenant().to_string(), &message.payload);
        let needed = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM app.subscriptions WHERE org_id = $1 AND provider = $2
                 AND subscription_id = $3 AND needs_refetch AND ties = $4) AS "needed!""#,
            org,
            wanted.provider,
            wanted.subscription,
            wanted.tie,
        )
        .fetch_one(tx.conn())
        .await?;
        if needed { Ok(wanted.clone()) } else { Err(Fault::Reject { code: "refetch_not_needed" }) }
    }

    async fn call(&self, wanted: BillingRefetch) -> Result<Answered<BillingRefetched>, CallFault> {
        let BillingRefetch { provider, account, subscription, tie } = wanted;
        let found = self.0.subscription(&account, &subscription).await.map_err(|fault| {
            tracing::warn!(code = fault.code(), error = %fault, "Stripe was asked for a subscription in vain");
            let (code, after) = (fault.code(), fault.after());
            match (fault.is_final(), fault.is_outage()) {
                (true, _) => CallFault::Reject { code },
                (_, true) => CallFault::Wait { code, window: LONGEST_OUTAGE, after },
                _ => CallFault::Retry { code, after },
            }
        })?;
        if found.id != subscription {
            return Err(CallFault::Reject { code: "provider_answered_another" });
        }
        let period_end = found.period_end.map(|end| end.moment().unix_timestamp());
        let (status, plan) = (found.status, found.plan);
        let answer = BillingRefetched { provider, subscription, tie, status, plan, period_end };
        Ok(Answered::resource("subscription", found.id, answer))
    }
}
