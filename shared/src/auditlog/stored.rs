//! What a stored line says, for whoever searches or compares lines. Who proves lines uses their bytes.

use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::contract::{Outcome, TenantId, Timestamp};

/// The fields of a line with its number in its tenant's sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLine {
    /// When it arose.
    pub timestamp: OffsetDateTime,
    /// Whose line it is.
    pub org_id: TenantId,
    /// Number in that tenant's sequence, from 1.
    pub tenant_seq: i64,
    /// Identity of the settlement.
    pub event_id: Uuid,
    /// Kind and id of the principal.
    pub actor: String,
    /// What was done, or asked for.
    pub action: String,
    /// Kind of the target.
    pub resource_type: String,
    /// The target.
    pub resource_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Typed facts.
    pub metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Raw {
    timestamp: String,
    org_id: String,
    actor_id: String,
    action: String,
    resource_type: String,
    resource_id: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    event_id: Uuid,
    outcome: String,
    /// A line that is not stored yet has none.
    tenant_seq: Option<i64>,
}

impl StoredLine {
    /// Reads a line; `None` for what no writer of ours stores. Fields of a later version are passed over.
    pub fn parse(line: &[u8]) -> Option<Self> {
        Self::numbered(line, |number| number)
    }

    /// Reads a line as its producer renders it, before the log gives it a number; that is 1 here.
    pub fn rendered(line: &[u8]) -> Option<Self> {
        Self::numbered(line, |number| number.is_none().then_some(1))
    }

    fn numbered(line: &[u8], number: fn(Option<i64>) -> Option<i64>) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(line).ok()?;
        Some(Self {
            timestamp: Timestamp::parse(&raw.timestamp)?.moment(),
            org_id: TenantId::parse(&raw.org_id).ok()?,
            tenant_seq: number(raw.tenant_seq).filter(|number| *number > 0)?,
            event_id: raw.event_id,
            actor: raw.actor_id,
            action: raw.action,
            resource_type: raw.resource_type,
            resource_id: raw.resource_id,
            outcome: Outcome::parse(&raw.outcome)?,
            metadata: raw.metadata,
        })
    }

    /// A text among the facts.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-01-02T03:04:05.000006Z","org_id":"acme","actor_id":"user:u","action":"a","resource_type":"r","resource_id":"1","metadata":{"code":"c","message_id":"m"},"event_id":"00000000-0000-8000-8000-000000000001","outcome":"denied","policy_version":"0","tenant_seq":7,"prev_hash":"00"}"#;

    #[test]
    fn a_line_is_read_with_its_number_and_its_facts() {
        let line = StoredLine::parse(LINE.as_bytes()).unwrap();
        assert_eq!((line.org_id.as_str(), line.tenant_seq, line.outcome), ("acme", 7, Outcome::Denied));
        assert_eq!((line.fact("code"), line.fact("other")), (Some("c"), None));
        let rendered = LINE.replace(",\"tenant_seq\":7,\"prev_hash\":\"00\"", "");
        assert_eq!(StoredLine::rendered(rendered.as_bytes()).unwrap().event_id, line.event_id);
        assert!(StoredLine::rendered(LINE.as_bytes()).is_none());
        let operator = LINE.replace("acme", TenantId::operator().as_str());
        assert!(StoredLine::parse(operator.as_bytes()).unwrap().org_id.is_operator());
    }

    #[test]
    fn what_no_writer_stores_is_no_line() {
        for (from, to) in [
            ("\"tenant_seq\":7", "\"tenant_seq\":0"),
            (",\"tenant_seq\":7", ""),
            ("denied", "perhaps"),
            ("acme", "not a tenant"),
            (".000006Z", ""),
        ] {
            let other = LINE.replacen(from, to, 1);
            assert!(StoredLine::parse(other.as_bytes()).is_none(), "{other}");
        }
        assert!(StoredLine::parse(b"").is_none());
    }
}
