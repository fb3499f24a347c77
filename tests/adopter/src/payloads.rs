//! What is sent and what follows: wire names, shapes and the permission it takes.

use millrace::contract::{Action, Event, Malformed, Object, Payload, Permission};
use serde::Serialize;
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
