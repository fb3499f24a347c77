//! `billing.charge_fee`

use millrace::contract::fees::FeeSchedule;
use millrace::contract::payloads::BillingChargeFee;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::fees;

/// Takes a fee that was set aside with its invoice, by the schedule of the day on which that succeeds.
#[derive(Debug, Clone)]
pub struct ChargeFee(FeeSchedule);

impl ChargeFee {
    /// What the platform takes of a paid invoice.
    pub fn new(fees: FeeSchedule) -> Self {
        Self(fees)
    }
}

impl Handler for ChargeFee {
    type Payload = BillingChargeFee;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingChargeFee>) -> Result<Changed, Fault> {
        let invoice = &message.payload.invoice;
        fees::charge_set_aside(tx, &self.0, invoice).await?;
        Ok(Changed::resource("invoice", invoice))
    }
}
