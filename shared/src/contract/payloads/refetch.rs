//! Asking the billing provider for a subscription, and what it says.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::schema::{self, EXTERNAL_BYTES};
use crate::contract::{Action, Callers, Gate, Malformed, Payload, Permission, Timestamp};

/// `billing.refetch`: two events of one second disagree about a subscription, and only the provider knows which came last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingRefetch {
    /// Provider, such as `stripe`.
    pub provider: String,
    /// The provider's connected account; empty for one's own.
    pub account: String,
    /// `sub_…`
    pub subscription: String,
    /// Which of its ties: an answer settles the one that it was asked about.
    pub tie: i32,
}

impl Payload for BillingRefetch {
    const NAME: &'static str = "billing.refetch";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|_| Malformed::new("body", "asks for no subscription"))
    }

    fn schema() -> Value {
        schema::object(&[
            ("provider", schema::text(&(1..=64))),
            ("account", json!({ "type": "string" })),
            ("subscription", schema::text(&EXTERNAL_BYTES)),
            ("tie", json!({ "type": "integer" })),
        ])
    }
}

/// `billing.refetched`: a subscription as the provider shows it when asked. What else the provider's object says is left
/// out: it may be personal, and nobody needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingRefetched {
    /// Provider, such as `stripe`.
    pub provider: String,
    /// `sub_…`
    pub subscription: String,
    /// The tie that it was asked about.
    pub tie: i32,
    /// The provider's status text, not judged here.
    pub status: String,
    /// Price of the first item.
    pub plan: Option<String>,
    /// End of the paid period, in unix seconds.
    pub period_end: Option<i64>,
}

impl BillingRefetched {
    /// End of the paid period.
    pub fn period_ends(&self) -> Option<Timestamp> {
        self.period_end.and_then(Timestamp::from_unix)
    }
}

impl Payload for BillingRefetched {
    const NAME: &'static str = "billing.refetched";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|_| Malformed::new("body", "is no subscription"))
    }

    fn schema() -> Value {
        schema::object_with(
            &[
                ("provider", schema::text(&(1..=64))),
                ("subscription", schema::text(&EXTERNAL_BYTES)),
                ("tie", json!({ "type": "integer" })),
                ("status", schema::text(&EXTERNAL_BYTES)),
            ],
            &[("plan", json!({ "type": ["string", "null"] })), ("period_end", json!({ "type": ["integer", "null"] }))],
        )
    }
}
