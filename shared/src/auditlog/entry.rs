//! What is to become a line.

use uuid::Uuid;

use super::line::{Fields, ORG_AT};
use crate::contract::{AuditEvent, TenantId, Timestamp};

/// A producer's line, read once, that the log may append.
#[derive(Debug, Clone)]
pub struct Entry {
    line: Vec<u8>,
    org_length: usize,
    event_id: Uuid,
    timestamp: Timestamp,
    act: Option<Act>,
}

/// An operator's act that the writer carries out or keeps beyond the line's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Old segments are to be dropped.
    Prune,
}

impl Act {
    /// What a line of the deployment itself asks of the writer.
    pub(super) fn of(fields: &Fields<'_>) -> Option<Self> {
        let by_operator = fields.org_id == TenantId::OPERATOR && fields.actor_id.starts_with("operator:");
        (by_operator && fields.action == RETENTION_PRUNED).then_some(Self::Prune)
    }
}

/// Action of the line by which an operator has old segments dropped. Only the operators' own publisher may record it.
pub const RETENTION_PRUNED: &str = "retention.pruned";

impl Entry {
    /// Reads the line's bytes. `None` when a producer would not have rendered them so, or when they leave no room for the
    /// position.
    pub fn read(line: Vec<u8>) -> Option<Self> {
        let fields = Fields::read(&line).filter(|fields| fields.position.is_none())?;
        let (org_length, event_id, timestamp) = (fields.org_id.len(), fields.event_id, fields.timestamp);
        let act = Act::of(&fields);
        (line.len() <= AuditEvent::LONGEST_RENDERED).then_some(Self { line, org_length, event_id, timestamp, act })
    }

    /// The tenant.
    pub fn org_id(&self) -> &str {
        // These bytes are of a text, cut where quotes stand.
        std::str::from_utf8(&self.line[ORG_AT..ORG_AT + self.org_length]).unwrap_or_default()
    }

    /// Identity of the event.
    pub fn event_id(&self) -> Uuid {
        self.event_id
    }

    /// When the event arose.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// What was done, as it stands in the line.
    pub fn action(&self) -> &str {
        Fields::read(&self.line).map_or("", |fields| fields.action)
    }

    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    pub(super) fn act(&self) -> Option<Act> {
        self.act
    }
}
