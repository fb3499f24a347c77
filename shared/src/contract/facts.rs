//! Which facts an audit line may hold beside its own fields: a closed set for each action, every one of a kind that has no
//! room for free text or for what a person is called.

use serde_json::{Map, Value};

/// Longest id, in bytes: as long as a sealed field may be.
const LONGEST_ID: usize = 255;

/// What a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FactKind {
    /// An id that a program made: no spaces, nothing to read.
    Id,
    /// A stable code of ours.
    Code,
    /// A whole number, not below zero.
    Count,
    /// Yes or no.
    Flag,
    /// Lower-case hex of a digest.
    Hash,
    /// Several of them.
    Hashes,
}

impl FactKind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Id => value.as_str().is_some_and(|text| text.len() <= LONGEST_ID && text.chars().all(visible)),
            Self::Code => value.as_str().is_some_and(|text| text.len() <= 64 && text.bytes().all(in_code)),
            Self::Count => value.as_u64().is_some(),
            Self::Flag => value.is_boolean(),
            Self::Hash => value.as_str().is_some_and(|text| text.bytes().all(in_hash)),
            Self::Hashes => value.as_array().is_some_and(|all| all.iter().all(|one| Self::Hash.fits(one))),
        }
    }
}

fn visible(character: char) -> bool {
    !character.is_whitespace() && !character.is_control()
}

fn in_hash(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn in_code(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.')
}

use FactKind::{Code, Count, Flag, Hash, Hashes, Id};

type Facts = &'static [(&'static str, FactKind)];

/// Of every settlement of a message, whatever its action.
const SETTLEMENT: Facts = &[
    ("message_id", Id),
    ("publisher", Id),
    ("dedupe_key", Id),
    ("code", Code),
    ("attempts", Count),
    ("redrives", Count),
    ("claimed_org_id", Id),
    ("certificate_sha256", Hash),
    ("tombstone", Hash),
];

/// How an operator chose dead letters.
const CHOICE: Facts = &[
    ("tenant", Id),
    ("type", Id),
    ("reason", Code),
    ("queue", Id),
    ("older_than", Id),
    ("newer_than", Id),
    ("state", Code),
    ("of", Code),
    ("letters", Count),
];
const LETTER: Facts = &[
    ("message_id", Id),
    ("publisher", Id),
    ("message_type", Id),
    ("reason", Code),
    ("redrives", Count),
    ("forced", Flag),
    ("because_sha256", Hash),
];
const STATE: Facts = &[("from", Code)];

/// Of operators' acts, by action. A new act is listed here, or the tests are red.
const ACTS: &[(&str, Facts)] = &[
    ("tenants.create", &[]),
    ("tenants.link", &[("provider", Id), ("account", Id), ("livemode", Flag)]),
    ("tenants.list", &[("state", Code), ("plan", Id)]),
    ("tenants.suspend", STATE),
    ("tenants.resume", STATE),
    ("tenants.close", STATE),
    ("dead.list", CHOICE),
    ("dead.preview", CHOICE),
    ("dead.show", &[("body", Flag)]),
    ("dead.redrive", LETTER),
    ("dead.discard", LETTER),
    ("billing.sync", &[("days", Count), ("undelivered", Flag), ("type", Id)]),
    ("billing.reconcile", &[("account", Id)]),
    ("audit.reconcile", &[]),
    ("audit.reindex", &[]),
    ("access.review", &[("stale_after_days", Count)]),
    ("access.reviewed", &[("sha256", Hash)]),
    ("breach.scope", &[("from", Id), ("to", Id)]),
    ("evidence.collected", &[("sha256", Hash), ("files", Count), ("missing", Count), ("from", Id), ("to", Id)]),
    ("ropa.made", &[]),
    ("hold.place", &[("matter", Id)]),
    ("hold.list", &[("shown", Count)]),
    ("hold.release", &[("matter", Id), ("released", Count)]),
    ("hold.pin", &[("matter", Id), ("manifest_sha256", Hash), ("lines", Count)]),
    ("hold.restore", &[("matter", Id)]),
    (
        "retention.pruned",
        &[
            ("from", Count),
            ("to", Count),
            ("root_before", Hash),
            ("segment_sha256", Hashes),
            ("days", Count),
            ("segments", Count),
        ],
    ),
    ("erasures.apply", &[("pseudonym", Id), ("rows", Count)]),
    ("erasures.deny", &[("pseudonym", Id)]),
    ("erasures.request", &[]),
    ("erasures.cancel", &[]),
    ("erasures.certificate", &[]),
    ("export.request", &[("scope", Code)]),
    ("export.list", &[("shown", Count)]),
    ("export.fetch", &[]),
    (
        "prove.run",
        &[
            ("sha256", Hash),
            ("green", Flag),
            ("tables", Count),
            ("probes", Count),
            ("mutants_killed", Count),
            ("failures", Count),
        ],
    ),
];

/// What a line holds that it must not: facts that its action does not list, and values that are not of their fact's kind.
/// A fact that is null says nothing.
pub fn unlisted_facts(actor_id: &str, action: &str, metadata: &Map<String, Value>) -> Vec<String> {
    let act = ACTS.iter().find(|(name, _)| *name == action).map(|(_, facts)| *facts);
    let listed = if actor_id.starts_with("operator:") { act.unwrap_or_default() } else { SETTLEMENT };
    let misfit = |(name, value): (&String, &Value)| match listed.iter().find(|(fact, _)| fact == name) {
        None => Some(format!("{action} has a fact that is not listed: {name}")),
        Some((_, kind)) if !value.is_null() && !kind.fits(value) => {
            Some(format!("{action} has a {name} that is no {kind:?}"))
        }
        Some(_) => None,
    };
    metadata.iter().filter_map(misfit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(actor: &str, action: &str, metadata: Value) -> usize {
        unlisted_facts(actor, action, metadata.as_object().unwrap()).len()
    }

    #[test]
    fn what_is_listed_fits_and_everything_else_is_found() {
        let settled =
            json!({ "message_id": "0192f0c1-8d", "publisher": "ingress", "code": "plan_limit", "attempts": 3 });
        assert_eq!(found("user:x", "projects.create", settled), 0);
        assert_eq!(found("user:x", "projects.create", json!({ "name": "Apollo" })), 1);
        assert_eq!(found("user:x", "projects.create", json!({ "code": "Ann left us" })), 1);
        assert_eq!(found("user:x", "projects.create", json!({ "dedupe_key": "two words" })), 1);
        assert_eq!(found("user:x", "projects.create", json!({ "attempts": -1 })), 1);
        assert_eq!(found("operator:ann", "tenants.suspend", json!({ "from": "active" })), 0);
        assert_eq!(found("operator:ann", "tenants.suspend", json!({ "because": "x" })), 1);
        assert_eq!(found("operator:ann", "something.new", json!({ "from": "active" })), 1);
        assert_eq!(found("operator:ann", "dead.discard", json!({ "because_sha256": "Ann" })), 1);
    }
}
