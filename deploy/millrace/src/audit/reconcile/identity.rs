//! What makes a line and a row the same settlement.

use millrace::auditlog::StoredLine;
use millrace::contract::{AuditEventKey, Outcome};
use sha2::{Digest, Sha256};

use super::sorter::Key;

/// How a line relates to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// It stands for the settlement of this message. Without a row there where a row is not to be.
    Settlement { key: Key, rowless: bool },
    /// An act of an operator, or of the log itself: there is no message behind it.
    Act,
    /// Its event id is not the one that its own message, outcome and tenant give.
    Foreign,
}

/// Judges a line. The event id is a keyed hash over what the line says of its message, so that neither can be changed
/// alone by anybody without the key.
pub(super) fn judge(line: &StoredLine, key: &AuditEventKey) -> Line {
    let facts = line.fact("publisher").zip(line.fact("message_id"));
    let redrives = line.metadata.get("redrives").and_then(serde_json::Value::as_i64).unwrap_or_default();
    let redrives = i32::try_from(redrives).unwrap_or_default();
    let org = line.org_id.as_str();
    let fits = |(publisher, message): &(&str, &str)| {
        key.event_id(org, publisher, message, line.outcome, redrives) == line.event_id
    };
    if let Some((publisher, message)) = facts.filter(fits) {
        let dead = (line.outcome == Outcome::Dead).then_some(redrives);
        // What lies outside its publisher's grant is denied before anything is decided about it.
        let rowless = line.org_id.is_operator() && line.outcome == Outcome::Denied;
        return Line::Settlement { key: settlement(org, publisher, message, dead), rowless };
    }
    let by_operator = line.actor.starts_with("operator:") || (line.org_id.is_operator() && facts.is_none());
    if by_operator { Line::Act } else { Line::Foreign }
}

/// The key of one settlement: of a message once, and of each of its dead letters. How it was settled is not in it, since
/// the inbox does not know.
pub(super) fn settlement(org: &str, publisher: &str, message: &str, dead: Option<i32>) -> Key {
    let kind = dead.map_or_else(|| "settled".to_owned(), |redrives| format!("dead {redrives}"));
    let mut hash = Sha256::new();
    for part in [&kind, org, publisher, message] {
        hash.update(part);
        hash.update([0]);
    }
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn key() -> AuditEventKey {
        AuditEventKey::new(&[7; 32]).unwrap()
    }

    fn line(org: &str, actor: &str, outcome: Outcome, redrives: i32) -> StoredLine {
        let id = key().event_id(org, "ingress", "m", outcome, redrives);
        let mut metadata = json!({ "publisher": "ingress", "message_id": "m" });
        if redrives > 0 {
            metadata["redrives"] = redrives.into();
        }
        let text = json!({
            "timestamp": "2026-01-02T03:04:05.000006Z", "org_id": org, "actor_id": actor, "action": "a",
            "resource_type": "r", "resource_id": "1", "metadata": metadata, "event_id": id, "outcome": outcome.as_str(),
            "tenant_seq": 1,
        });
        StoredLine::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_outcome_of_a_message_is_its_one_settlement_and_every_death_its_own() {
        let settled = |outcome| judge(&line("acme", "user:u", outcome, 0), &key());
        let wanted = Line::Settlement { key: settlement("acme", "ingress", "m", None), rowless: false };
        for outcome in [Outcome::Applied, Outcome::Ignored, Outcome::Rejected, Outcome::Denied] {
            assert_eq!(settled(outcome), wanted);
        }
        let deaths = [0, 1].map(|redrives| judge(&line("acme", "user:u", Outcome::Dead, redrives), &key()));
        assert_ne!(deaths[0], deaths[1]);
        assert_ne!(deaths[0], wanted);
    }

    #[test]
    fn a_line_that_was_changed_or_made_up_is_foreign() {
        let sound = line("acme", "user:u", Outcome::Applied, 0);
        let mut others = vec![sound.clone(); 4];
        others[0].event_id = uuid::Uuid::nil();
        others[1].outcome = Outcome::Denied;
        others[2].metadata.insert("message_id".to_owned(), "n".into());
        others[3].metadata = Map::new();
        for other in others {
            assert_eq!(judge(&other, &key()), Line::Foreign, "{other:?}");
        }
        assert_eq!(judge(&sound, &AuditEventKey::new(&[8; 32]).unwrap()), Line::Foreign, "another key");
    }

    #[test]
    fn what_has_no_message_or_no_row_is_known() {
        let mut act = line("acme", "operator:ops", Outcome::Applied, 0);
        act.metadata = Map::new();
        assert_eq!(judge(&act, &key()), Line::Act);
        let outside = line("millrace:operator", "service:s", Outcome::Denied, 0);
        assert!(matches!(judge(&outside, &key()), Line::Settlement { rowless: true, .. }));
        // A message that an operator sent is a message.
        assert!(matches!(judge(&line("acme", "operator:ops", Outcome::Applied, 0), &key()), Line::Settlement { .. }));
    }
}
