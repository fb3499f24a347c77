//! The fee of an invoice that could not be computed with the invoice.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{self, EXTERNAL_BYTES};
use crate::contract::{Action, Callers, Gate, Malformed, Payload, Permission};

/// `billing.charge_fee`: takes a fee that was set aside. Where its currency is still unknown, it is a dead letter, to be
/// redriven by a build that knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingChargeFee {
    /// `in_…`
    pub invoice: String,
}

impl Payload for BillingChargeFee {
    const NAME: &'static str = "billing.charge_fee";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|_| Malformed::new("body", "names no invoice"))
    }

    fn schema() -> Value {
        schema::object(&[("invoice", schema::text(&EXTERNAL_BYTES))])
    }
}
