//! Stripe events, applied in whatever order they come.

use millrace::contract::fees::FeeSchedule;
use millrace::contract::payloads::{BillingRefetch, StripeChange, StripeEvent};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::access::Thresholds;
use super::history::Entry;
use super::subscriptions::Merged;
use super::{access, fees, history, invoices, refunds, subscriptions};

/// Provider name in billing rows.
pub(super) const STRIPE: &str = "stripe";

/// Mirrors the event's object, notes what happened, and evaluates access again.
#[derive(Debug, Clone)]
pub struct ApplyStripeEvent {
    thresholds: Thresholds,
    fees: FeeSchedule,
}

impl ApplyStripeEvent {
    /// With the ages from which access is another, and what the platform takes of a paid invoice.
    pub fn new(thresholds: Thresholds, fees: FeeSchedule) -> Self {
        Self { thresholds, fees }
    }
}

impl Handler for ApplyStripeEvent {
    type Payload = StripeEvent;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<StripeEvent>) -> Result<Changed, Fault> {
        let event = &message.payload;
        let mut set_aside = None;
        let (object, kind, merged) = match &event.change {
            Some(StripeChange::Subscription(seen)) => {
                (&seen.id, "subscription", subscriptions::event(tx, STRIPE, seen).await?)
            }
            Some(StripeChange::Invoice(seen)) => {
                let change = invoices::merge(tx, seen).await?;
                set_aside = fees::charge(tx, &self.fees, seen).await?;
                (&seen.id, "invoice", Merged::of(change))
            }
            Some(StripeChange::Refund(seen)) => {
                (&seen.id, refunds::target(seen), Merged::of(refunds::take(tx, &event.head, seen).await?))
            }
            // The pipeline settles these as ignored before any handler.
            None => return Err(Fault::Poison { code: "unhandled_event" }),
        };
        let Merged { change, said, tie, out_of_order } = merged;
        let (event_id, event_type) = (&event.head.id, &event.head.event_type);
        history::note(tx, Entry { event_id, event_type, object, change, said }).await?;
        if out_of_order {
            subscriptions::restate(tx, STRIPE, object).await?;
        }
        let mut changed = Changed::resource(kind, object);
        if let Some(tie) = tie {
            let (provider, account) = (STRIPE.to_owned(), event.head.account.clone().unwrap_or_default());
            changed = changed.with_message(&BillingRefetch { provider, account, subscription: object.clone(), tie })?;
        }
        if let Some(fee) = set_aside {
            changed = changed.with_message(&fee)?;
        }
        access::evaluate(tx, &self.thresholds, message.decided_at, changed).await
    }
}
