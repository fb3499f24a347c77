//! The few fields of a stored line that a verification needs, found from both ends by their exact bytes.
//!
//! It only ever runs over lines whose hash the tree confirms. A line in any other form than the writer's takes the slow
//! way through [`Fields::read`], which walks over every byte.

use uuid::Uuid;

use super::super::line::{Fields, ORG_AT};

/// What a verification reads of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scanned<'l> {
    pub(super) timestamp: &'l [u8],
    pub(super) org_id: &'l [u8],
    pub(super) action: &'l [u8],
    pub(super) event_id: u128,
    pub(super) tenant_seq: u64,
    /// In hex.
    pub(super) prev_hash: &'l [u8],
}

const BEGIN: &[u8] = br#"{"timestamp":""#;

impl<'l> Scanned<'l> {
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        Self::quick(line).or_else(|| Self::slow(line))
    }

    /// From the front to the action, and from the end to the event's id. A quote that no backslash precedes begins or
    /// ends a string; a key's opening quote follows a comma and its closing one comes before a colon, so what looks like
    /// a field here cannot stand inside another field's text.
    fn quick(line: &'l [u8]) -> Option<Self> {
        let timestamp = line.strip_prefix(BEGIN)?.get(..27)?;
        let rest = line.get(BEGIN.len() + 27..)?.strip_prefix(br#"","org_id":""#)?;
        let (org_id, rest) = text(rest)?;
        let (_, rest) = text(rest.strip_prefix(br#","actor_id":""#)?)?;
        let (action, _) = text(rest.strip_prefix(br#","action":""#)?)?;
        let rest = line.strip_suffix(br#""}"#)?;
        let (rest, prev_hash) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let rest = rest.strip_suffix(br#","prev_hash":""#)?;
        let digits = rest.iter().rev().take(20).take_while(|b| b.is_ascii_digit()).count();
        let (rest, number) = rest.split_at(rest.len() - digits);
        let tenant_seq = decimal(number)?;
        let (rest, _) = field_before(rest.strip_suffix(br#","tenant_seq":"#)?, br#","policy_version":""#)?;
        let (rest, _) = field_before(rest, br#","outcome":""#)?;
        let (_, id) = field_before(rest, br#","event_id":""#)?;
        let event_id = Uuid::try_parse_ascii(id).ok()?.as_u128();
        Some(Self { timestamp, org_id, action, event_id, tenant_seq, prev_hash })
    }

    fn slow(line: &'l [u8]) -> Option<Self> {
        let fields = Fields::read(line)?;
        let position = fields.position?;
        // Read to the end and found in order, so the hash stands before the last two bytes.
        let prev_hash = line.get(line.len().checked_sub(66)?..line.len() - 2)?;
        Some(Self {
            timestamp: line.get(BEGIN.len()..ORG_AT - br#"","org_id":""#.len())?,
            org_id: fields.org_id.as_bytes(),
            action: fields.action.as_bytes(),
            event_id: fields.event_id.as_u128(),
            tenant_seq: position.tenant_seq,
            prev_hash,
        })
    }
}

/// A string without escapes whose opening quote is gone, and what follows its closing quote.
fn text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    (rest[end] == b'"').then(|| (&rest[..end], &rest[end + 1..]))
}

/// What stands before a field that ends here, and the field's text, which has no escapes.
fn field_before<'l>(rest: &'l [u8], key: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let rest = rest.strip_suffix(b"\"")?;
    let at = memchr::memrchr2(b'"', b'\\', rest)?;
    Some((rest[..=at].strip_suffix(key)?, &rest[at + 1..]))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits[0] == b'0' {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::line::{Position, splice};
    use super::super::super::tree::Hash;
    use super::*;
    use crate::contract::AuditEvent;

    fn stored(actor: &str, resource: &str, metadata: &str, version: &str, seq: u64) -> Vec<u8> {
        let mut facts = serde_json::Map::new();
        facts.insert("code".to_owned(), metadata.into());
        let event = AuditEvent {
            timestamp: "2026-01-02T03:04:05.000006Z".into(),
            org_id: "acme".into(),
            actor_id: actor.into(),
            action: "projects.create".into(),
            resource_type: "project".into(),
            resource_id: resource.into(),
            metadata: facts,
            event_id: Uuid::from_u128(77),
            outcome: "applied".into(),
            policy_version: version.into(),
        };
        let mut out = Vec::new();
        splice(&event.render().unwrap(), &Position { tenant_seq: seq, prev_hash: Hash([9; 32]) }, &mut out);
        out
    }

    #[test]
    fn the_writers_lines_take_the_quick_way() {
        let line = stored("webhook:stripe", "p1", "x", "abc", 12);
        assert!(Scanned::quick(&line).is_some());
    }

    fn nasty() -> impl Strategy<Value = String> {
        let parts = prop_oneof![
            Just("\",\"event_id\":\"00000000-0000-0000-0000-000000000001".to_owned()),
            Just("\",\"tenant_seq\":9,\"prev_hash\":\"".to_owned()),
            Just("\\".to_owned()),
            Just("\"".to_owned()),
            Just(",\"action\":\"other".to_owned()),
            any::<String>(),
        ];
        prop::collection::vec(parts, 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same(actor in nasty(), resource in nasty(), metadata in nasty(), version in nasty(), seq in 1_u64..) {
            let line = stored(&actor, &resource, &metadata, &version, seq);
            let slow = Scanned::slow(&line);
            prop_assert!(slow.is_some());
            if let Some(quick) = Scanned::quick(&line) {
                prop_assert_eq!(Some(quick), slow);
            }
            prop_assert_eq!(slow.map(|s| (s.event_id, s.tenant_seq)), Some((77, seq)));
        }
    }
}
