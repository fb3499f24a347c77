//! Audit events: one for each settlement, rendered once by the process that settled.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::seal::{item, keyed};
use super::{Outcome, Timestamp};

/// What one line of the audit log says. The producer renders it once, and those bytes are the line: whoever
/// publishes or stores it again does not re-serialise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEvent {
    /// When the settlement arose: RFC 3339, UTC, six digits.
    pub timestamp: String,
    /// The tenant, or the reserved operator tenant.
    pub org_id: String,
    /// Kind and id of the principal.
    pub actor_id: String,
    /// What was done, or asked for.
    pub action: String,
    /// Kind of the target.
    pub resource_type: String,
    /// The target.
    pub resource_id: String,
    /// Typed facts, codes and ids only: no bodies, no personal data, no free text.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Identity of the settlement; equal on every redelivery.
    pub event_id: Uuid,
    /// `applied`, `ignored`, `rejected`, `denied` or `dead`.
    pub outcome: String,
    /// Hash of the role table that was in force.
    pub policy_version: String,
}

/// Why a body is not an audit line.
#[derive(Debug, thiserror::Error)]
pub enum AuditLineFault {
    /// Not the JSON object that [`AuditEvent`] describes.
    #[error("not an audit event")]
    Shape(#[source] serde_json::Error),
    /// A line break would make two lines of one.
    #[error("an audit event must be one line")]
    LineBreak,
    /// tlog-tiles counts an entry's length in 16 bits, and the log adds a position.
    #[error("an audit event must not exceed 65422 bytes")]
    TooLong,
    /// The timestamp has another form.
    #[error("timestamp is not RFC 3339 UTC with six digits")]
    Timestamp,
}

impl AuditEvent {
    /// Longest stored line, in bytes without the line feed.
    pub const LONGEST: usize = 65_535;
    /// Longest line that a producer renders: the log adds a position to it, which takes 113 bytes at most.
    pub const LONGEST_RENDERED: usize = Self::LONGEST - 113;

    /// Reads and checks the bytes that are to become a line.
    ///
    /// # Errors
    /// [`AuditLineFault`].
    pub fn parse(line: &[u8]) -> Result<Self, AuditLineFault> {
        if line.len() > Self::LONGEST_RENDERED {
            return Err(AuditLineFault::TooLong);
        }
        if line.contains(&b'\n') || line.contains(&b'\r') {
            return Err(AuditLineFault::LineBreak);
        }
        let event: Self = serde_json::from_slice(line).map_err(AuditLineFault::Shape)?;
        match Timestamp::parse(&event.timestamp) {
            Some(t) if t.to_string() == event.timestamp => Ok(event),
            _ => Err(AuditLineFault::Timestamp),
        }
    }

    /// The bytes of the line, without the line feed.
    ///
    /// # Errors
    /// Metadata that makes the line too long, or cannot be rendered.
    pub fn render(&self) -> Result<Vec<u8>, AuditLineFault> {
        let line = serde_json::to_vec(self).map_err(AuditLineFault::Shape)?;
        if line.len() > Self::LONGEST_RENDERED { Err(AuditLineFault::TooLong) } else { Ok(line) }
    }
}

/// Makes event ids: unguessable from outside, equal for every copy of one settlement.
#[derive(Clone)]
pub struct AuditEventKey(Hmac<Sha256>);

impl std::fmt::Debug for AuditEventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditEventKey([REDACTED])")
    }
}

impl AuditEventKey {
    /// Takes the raw bytes; `None` when there are fewer than [`super::SealKey::SHORTEST`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        keyed(bytes).map(Self)
    }

    /// UUIDv8 from HMAC(tenant, publisher or hash of the raw bytes, message id, outcome, redrive count).
    pub fn event_id(&self, org: &str, publisher: &str, message_id: &str, outcome: Outcome, redrives: i32) -> Uuid {
        let mut input = Vec::new();
        for text in ["millrace-audit-event-v1", org, publisher, message_id, outcome.as_str()] {
            item(&mut input, Some(text.as_bytes()));
        }
        item(&mut input, Some(&redrives.to_be_bytes()));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0.clone().chain_update(input).finalize().into_bytes()[..16]);
        Uuid::new_v8(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageType;
    use super::*;
    use proptest::prelude::*;

    fn event() -> AuditEvent {
        AuditEvent {
            timestamp: Timestamp::from_unix(1_700_000_000).unwrap().to_string(),
            org_id: "acme".into(),
            actor_id: "webhook:stripe".into(),
            action: "invoice.payment_succeeded".into(),
            resource_type: "subscription".into(),
            resource_id: "sub_1".into(),
            metadata: serde_json::Map::new(),
            event_id: Uuid::nil(),
            outcome: Outcome::Applied.to_string(),
            policy_version: "0".into(),
        }
    }

    #[test]
    fn a_line_reads_back_as_it_was_rendered() {
        let line = event().render().unwrap();
        assert_eq!(AuditEvent::parse(&line).unwrap(), event());
        assert_eq!(MessageType::audit_event().as_str(), "audit.event");
    }

    #[test]
    fn the_line_has_the_specifications_fields_in_this_order() {
        let text = String::from_utf8(event().render().unwrap()).unwrap();
        assert!(text.starts_with(
            r#"{"timestamp":"2023-11-14T22:13:20.000000Z","org_id":"acme","actor_id":"webhook:stripe","action":"#
        ));
    }

    #[test]
    fn two_lines_in_one_foreign_fields_and_other_times_are_refused() {
        let line = event().render().unwrap();
        let pretty = serde_json::to_vec_pretty(&event()).unwrap();
        assert!(matches!(AuditEvent::parse(&pretty), Err(AuditLineFault::LineBreak)));
        let text = String::from_utf8(line).unwrap();
        let foreign = text.replacen('{', r#"{"seq":1,"#, 1);
        assert!(matches!(AuditEvent::parse(foreign.as_bytes()), Err(AuditLineFault::Shape(_))));
        let short = text.replace(".000000Z", "Z");
        assert!(matches!(AuditEvent::parse(short.as_bytes()), Err(AuditLineFault::Timestamp)));
    }

    #[test]
    fn ids_differ_by_publisher_message_outcome_and_redrive() {
        let key = AuditEventKey::new(&[7; 32]).unwrap();
        let id = key.event_id("acme", "ingress", "m", Outcome::Applied, 0);
        assert_eq!(id, key.event_id("acme", "ingress", "m", Outcome::Applied, 0));
        for other in [
            key.event_id("globex", "ingress", "m", Outcome::Applied, 0),
            key.event_id("acme", "worker", "m", Outcome::Applied, 0),
            key.event_id("acme", "ingress", "n", Outcome::Applied, 0),
            key.event_id("acme", "ingress", "m", Outcome::Dead, 0),
            key.event_id("acme", "ingress", "m", Outcome::Applied, 1),
        ] {
            assert_ne!(id, other);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(AuditEvent::parse(&bytes).is_err());
        }
    }
}
