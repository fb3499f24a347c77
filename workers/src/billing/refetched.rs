//! `billing.refetched`

use millrace::contract::payloads::BillingRefetched;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::access::{self, Thresholds};
use super::history::{self, Entry};
use super::subscriptions::{self, Merged};

/// Takes over what the provider said when it was asked: it was said after everything that the tie was about.
#[derive(Debug, Clone)]
pub struct ApplyRefetched(Thresholds);

impl ApplyRefetched {
    /// With the ages from which access is another.
    pub fn new(thresholds: Thresholds) -> Self {
        Self(thresholds)
    }
}

impl Handler for ApplyRefetched {
    type Payload = BillingRefetched;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingRefetched>) -> Result<Changed, Fault> {
        let fetched = &message.payload;
        let Merged { change, said, .. } = subscriptions::answer(tx, fetched).await?;
        let (event_id, event_type) = (message.id.as_str(), "billing.refetched");
        history::note(tx, Entry { event_id, event_type, object: &fetched.subscription, change, said }).await?;
        subscriptions::restate(tx, &fetched.provider, &fetched.subscription).await?;
        let changed = Changed::resource("subscription", &fetched.subscription);
        access::evaluate(tx, &self.0, message.decided_at, changed).await
    }
}
