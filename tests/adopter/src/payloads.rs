//! What is sent and what follows: wire names, shapes and the permission it takes.

use millrace::contract::{
    Action, Callers, Event, Gate, Link, Malformed, Object, Payload, Permission, Tenancy, is_clean,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// `tickets.create`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketsCreate {
    /// What it is about, in 1 to 200 bytes.
    pub subject: String,
    /// Does it jump the queue? Only some plans include that.
    pub urgent: bool,
}

impl Payload for TicketsCreate {
    const NAME: &'static str = "tickets.create";
    const PERMISSION: Permission = Permission::new("ticket", Action::Write);

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let (subject, urgent) = (object.text("subject", 1..=200)?, object.flag("urgent")?);
        object.done()?;
        Ok(Self { subject, urgent })
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["subject"],
            "properties": {
                "subject": { "type": "string", "minLength": 1, "maxLength": 200 },
                "urgent": { "type": "boolean", "default": false },
            },
        })
    }
}

/// `tickets.created`
#[derive(Debug, Clone, Serialize)]
pub struct TicketCreated {
    /// Which ticket.
    pub id: Uuid,
    /// Does it jump the queue?
    pub urgent: bool,
}

impl Event for TicketCreated {
    const NAME: &'static str = "tickets.created";

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["id", "urgent"],
            "properties": { "id": { "type": "string", "format": "uuid" }, "urgent": { "type": "boolean" } },
        })
    }
}

/// `helpdesk.event`: a webhook of a provider that is configuration, see `[sources.helpdesk]` in the README. Its body has
/// fields that nobody here needs, so it is read leniently; what is stored is still bounded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HelpdeskEvent {
    /// The provider's name for the tenant, linked with `millrace tenants link --provider helpdesk`.
    pub account: String,
    /// What it is about.
    pub subject: String,
}

impl Payload for HelpdeskEvent {
    const NAME: &'static str = "helpdesk.event";
    const PERMISSION: Permission = Permission::new("ticket", Action::Write);
    const CALLERS: Callers = Callers::Webhooks;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let event: Self = serde_json::from_slice(body).map_err(|_| Malformed::new("body", "is no helpdesk event"))?;
        if is_clean(&event.account, 1..=200) && is_clean(&event.subject, 1..=200) {
            Ok(event)
        } else {
            Err(Malformed::new("body", "has a text of an unsound length"))
        }
    }

    fn tenancy(&self) -> Tenancy {
        Tenancy::Link(Link {
            provider: "helpdesk".to_owned(),
            account: String::new(),
            livemode: true,
            external_id: self.account.clone(),
        })
    }
}
