//! `billing.review_access`

use millrace::contract::payloads::BillingReviewAccess;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::access::{self, Thresholds};

/// Evaluates access again, because time has passed. Whatever has happened since it was asked for, it reads the rows as they
/// are now, so one that comes too late or twice does no harm.
#[derive(Debug, Clone)]
pub struct ReviewAccess(Thresholds);

impl ReviewAccess {
    /// By these ages.
    pub fn new(thresholds: Thresholds) -> Self {
        Self(thresholds)
    }
}

impl Handler for ReviewAccess {
    type Payload = BillingReviewAccess;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingReviewAccess>) -> Result<Changed, Fault> {
        let changed = Changed::resource("access", tx.tenant().as_str());
        access::evaluate(tx, &self.0, message.decided_at, changed).await
    }
}
