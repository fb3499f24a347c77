//! Stripe events, applied in whatever order they come.

use millrace::contract::fees::FeeSchedule;
use millrace::contract::payloads::{StripeChange, StripeEvent};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{access, fees, history, invoices, refunds, subscriptions};

/// Provider name in billing rows.
pub(super) const STRIPE: &str = "stripe";

/// Mirrors the event's object, evaluates access again, and notes what happened.
#[derive(Debug, Clone)]
pub struct ApplyStripeEvent {
    /// What the platform takes of a paid invoice.
    pub fees: FeeSchedule,
}

impl Handler for ApplyStripeEvent {
    type Payload = StripeEvent;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<StripeEvent>) -> Result<Changed, Fault> {
        let event = &message.payload;
        let (target, kind, change) = match &event.change {
            Some(StripeChange::Subscription(object)) => {
                (&object.id, "subscription", subscriptions::merge(tx, object).await?)
            }
            Some(StripeChange::Invoice(object)) => {
                let change = invoices::merge(tx, object).await?;
                fees::charge(tx, &self.fees, object).await?;
                (&object.id, "invoice", change)
            }
            Some(StripeChange::Refund(object)) => {
                (&object.id, refunds::target(object), refunds::take(tx, object).await?)
            }
            // The pipeline settles these as ignored before any handler.
            None => return Err(Fault::Poison { code: "unhandled_event" }),
        };
        access::evaluate(tx, message.decided_at).await?;
        history::note(tx, &event.head, target, change).await?;
        Ok(Changed::resource(kind, target))
    }
}
