//! What the ingress refused to somebody it knows.

use serde_json::Value;

use super::schema;
use crate::contract::{Action, Callers, Gate, Malformed, MessageType, Object, Payload, Permission};

/// `edge.refused`: an authenticated principal asked for what it may not. It changes nothing; a worker settles it as
/// denied, so that it has its audit line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeRefused {
    /// The command or route that was asked for, such as `projects.create` or `audit_log.read`.
    pub action: String,
    /// The rule that said no.
    pub rule: EdgeRule,
}

/// Why the edge refuses somebody it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeRule {
    /// The role table.
    RoleTable,
    /// The command is for services.
    ServicesOnly,
}

impl EdgeRule {
    const ALL: [Self; 2] = [Self::RoleTable, Self::ServicesOnly];

    /// The rule in audit lines: that of the worker, with the place where it was applied.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoleTable => "edge_role_table",
            Self::ServicesOnly => "edge_services_only",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }
}

impl Payload for EdgeRefused {
    const NAME: &'static str = "edge.refused";
    const PERMISSION: Permission = Permission::new("tenant", Action::Read);
    const CALLERS: Callers = Callers::Edge;
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let action = object.parsed("action", "must be a command or route", |text| MessageType::parse(text).ok())?;
        let rule = object.parsed("rule", "must be a rule of the edge", EdgeRule::parse)?;
        object.done()?;
        Ok(Self { action: action.to_string(), rule })
    }

    fn schema() -> Value {
        schema::object(&[
            ("action", schema::text(&(1..=64))),
            ("rule", schema::word(&EdgeRule::ALL.map(EdgeRule::as_str))),
        ])
    }

    fn action(&self) -> &str {
        &self.action
    }
}

impl EdgeRefused {
    /// The body that [`Payload::parse`] reads.
    pub fn body(&self) -> Vec<u8> {
        serde_json::json!({ "action": self.action, "rule": self.rule.as_str() }).to_string().into_bytes()
    }
}
