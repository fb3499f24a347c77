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
    by_operator: bool,
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

/// Action of the line by which an operator has old segments dropped.
pub const RETENTION_PRUNED: &str = "retention.pruned";

/// A line in an operator's name, unless it records what became of a message: that names its publisher, whose grant says
/// whether it may speak for operators. What drops segments is an operator's in any case.
fn is_by_operator(fields: &Fields<'_>) -> bool {
    if fields.org_id == TenantId::OPERATOR && fields.action == RETENTION_PRUNED {
        return true;
    }
    fields.actor_id.starts_with("operator:") && !names_publisher(fields.metadata)
}

fn names_publisher(metadata: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Facts {
        publisher: Option<String>,
        message_id: Option<String>,
    }
    serde_json::from_str(metadata).is_ok_and(|facts: Facts| facts.publisher.is_some() && facts.message_id.is_some())
}

impl Entry {
    /// Reads the line's bytes. `None` when a producer would not have rendered them so, or when they leave no room for the
    /// position.
    pub fn read(line: Vec<u8>) -> Option<Self> {
        let fields = Fields::read(&line).filter(|fields| fields.position.is_none())?;
        let (org_length, event_id, timestamp) = (fields.org_id.len(), fields.event_id, fields.timestamp);
        let (act, by_operator) = (Act::of(&fields), is_by_operator(&fields));
        let fits = line.len() <= AuditEvent::LONGEST_RENDERED;
        fits.then_some(Self { line, org_length, event_id, timestamp, act, by_operator })
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

    /// Is it an operator's own act? Only the operators' publisher may record one.
    pub fn is_by_operator(&self) -> bool {
        self.by_operator
    }

    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    pub(super) fn act(&self) -> Option<Act> {
        self.act
    }
}
