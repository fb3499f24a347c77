//! `billing.override_access`

use millrace::contract::payloads::{AccessLevel, BillingOverrideAccess};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::access::{self, Thresholds};

/// Decides a tenant's level instead of the rule, or gives the rule its say again.
#[derive(Debug, Clone)]
pub struct OverrideAccess(Thresholds);

impl OverrideAccess {
    /// The rule that it overrides.
    pub fn new(thresholds: Thresholds) -> Self {
        Self(thresholds)
    }
}

impl Handler for OverrideAccess {
    type Payload = BillingOverrideAccess;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingOverrideAccess>) -> Result<Changed, Fault> {
        let BillingOverrideAccess { level, until } = &message.payload;
        let until = until.filter(|_| level.is_some()).map(|until| until.moment());
        if until.is_some_and(|until| until <= message.decided_at.moment()) {
            return Err(Fault::Reject { code: "override_over" });
        }
        let (org, level) = (tx.tenant().to_string(), level.map(AccessLevel::as_str));
        // Until the evaluation below, the level stays what it was.
        sqlx::query!(
            "INSERT INTO app.access AS a (org_id, level, override_level, override_until, evaluated_at)
             VALUES ($1, 'full', $2, $3, $4)
             ON CONFLICT (org_id) DO UPDATE SET override_level = EXCLUDED.override_level,
               override_until = EXCLUDED.override_until",
            org,
            level,
            until,
            message.decided_at.moment(),
        )
        .execute(tx.conn())
        .await?;
        access::evaluate(tx, &self.0, message.decided_at, Changed::resource("access", org)).await
    }
}
