//! Billing: the plan a tenant is on, and which provider's customer it is.

use serde::Serialize;
use serde_json::{Value, json};

use super::schema::{self, EXTERNAL_BYTES};
use crate::contract::{Action, Callers, Event, Gate, Malformed, Object, Payload, Permission};

const RESOURCE: &str = "billing";
const PLAN_BYTES: std::ops::RangeInclusive<usize> = 1..=64;

/// `billing.change_plan`: open at every level of access, so that a tenant can pay its way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingChangePlan {
    /// Name of a plan in `ref.plans`.
    pub plan: String,
}

impl Payload for BillingChangePlan {
    const NAME: &'static str = "billing.change_plan";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let plan = object.text("plan", PLAN_BYTES)?;
        object.done()?;
        Ok(Self { plan })
    }

    fn schema() -> Value {
        schema::object(&[("plan", schema::text(&PLAN_BYTES))])
    }
}

/// `billing.link_customer`: for services alone, since whoever links a customer receives its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingLinkCustomer {
    /// Provider, such as `stripe`.
    pub provider: String,
    /// The provider's connected account; empty for one's own.
    pub account: String,
    /// Live or test mode.
    pub livemode: bool,
    /// The customer's id with the provider.
    pub customer: String,
}

impl Payload for BillingLinkCustomer {
    const NAME: &'static str = "billing.link_customer";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const CALLERS: Callers = Callers::Services;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let provider = object.text("provider", 1..=64)?;
        let account = object.optional_text("account", EXTERNAL_BYTES)?.unwrap_or_default();
        let livemode = object.flag("livemode")?;
        let customer = object.text("customer", EXTERNAL_BYTES)?;
        object.done()?;
        Ok(Self { provider, account, livemode, customer })
    }

    fn schema() -> Value {
        schema::object_with(
            &[("provider", schema::text(&(1..=64))), ("customer", schema::text(&EXTERNAL_BYTES))],
            &[("account", schema::text(&EXTERNAL_BYTES)), ("livemode", json!({ "type": "boolean" }))],
        )
    }
}

/// `billing.plan_changed`
#[derive(Debug, Clone, Serialize)]
pub struct PlanChanged {
    /// The plan from now on.
    pub plan: String,
}

impl Event for PlanChanged {
    const NAME: &'static str = "billing.plan_changed";

    fn schema() -> Value {
        schema::object(&[("plan", schema::text(&PLAN_BYTES))])
    }
}

/// `billing.customer_linked`
#[derive(Debug, Clone, Serialize)]
pub struct CustomerLinked {
    /// Provider, such as `stripe`.
    pub provider: String,
    /// The customer's id with the provider.
    pub customer: String,
}

impl Event for CustomerLinked {
    const NAME: &'static str = "billing.customer_linked";

    fn schema() -> Value {
        schema::object(&[("provider", schema::text(&(1..=64))), ("customer", schema::text(&EXTERNAL_BYTES))])
    }
}
