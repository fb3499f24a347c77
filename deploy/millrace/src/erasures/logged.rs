//! What the audit log says of erasures and holds: no restore of the database takes it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millrace::contract::{TenantId, Timestamp};
use uuid::Uuid;

use crate::CommandFault;
use crate::compliance::log_lines::{self, Entry};
use crate::operator::Usage;

/// A hold that nobody has released.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) org: TenantId,
    pub(super) matter: String,
    pub(super) placed_by: String,
    pub(super) placed_at: Timestamp,
}

/// What has to be true of a restored database before it opens.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// People who were erased: pseudonym, and the tag of the tombstone where the line has one.
    pub(super) people: BTreeMap<TenantId, BTreeMap<Uuid, Option<Vec<u8>>>>,
    /// Tenants whose erasure has begun.
    pub(super) orgs: BTreeSet<TenantId>,
    /// Holds in force, by id.
    pub(super) holds: BTreeMap<Uuid, Hold>,
    /// Lines that say one of these things and cannot be read.
    nameless: u64,
}

impl Logged {
    /// Reads all segments, closed ones included.
    pub(super) fn read(log: &Path) -> Result<Self, CommandFault> {
        let mut logged = Self::default();
        let seen = log_lines::read(log, |at, line| logged.take(at, &line))?;
        match seen.unreadable + logged.nameless {
            0 => Ok(logged),
            foreign => {
                let advice = format!(
                    "{foreign} lines of {} are none of ours: millrace audit verify says which; nothing was changed",
                    log.display()
                );
                Err(Usage(advice).into())
            }
        }
    }

    /// How many erasures there were.
    pub(super) fn erasures(&self) -> usize {
        self.people.values().map(BTreeMap::len).sum::<usize>() + self.orgs.len()
    }

    fn take(&mut self, at: Timestamp, line: &Entry) {
        if line.outcome == "applied" && self.note(at, line).is_none() {
            self.nameless += 1;
        }
    }

    /// `None` for a line that should have said something and does not.
    fn note(&mut self, at: Timestamp, line: &Entry) -> Option<()> {
        let org = TenantId::parse(&line.org_id).ok();
        let id = Uuid::parse_str(&line.resource_id).ok();
        match (line.action.as_str(), line.resource_type.as_str()) {
            ("erasure.begun" | "erasure.executed", "tenant") => drop(self.orgs.insert(org?)),
            ("erasure.executed", _) => {
                let tag = line.metadata.get("tombstone").and_then(|tag| hex::decode(tag.as_str()?).ok());
                self.people.entry(org?).or_default().insert(id?, tag);
            }
            ("hold.place", _) if by_operator(line) => {
                let matter = line.metadata.get("matter")?.as_str()?.to_owned();
                let placed_by = line.actor_id.strip_prefix("operator:").unwrap_or(&line.actor_id).to_owned();
                self.holds.insert(id?, Hold { org: org?, matter, placed_by, placed_at: at });
            }
            ("hold.release", _) if by_operator(line) => drop(self.holds.remove(&id?)),
            _ => {}
        }
        Some(())
    }
}

/// An operator's own act, which the log's writer takes from the operators' publisher alone.
fn by_operator(line: &Entry) -> bool {
    let of_a_message = ["publisher", "message_id"].iter().all(|fact| line.metadata.contains_key(*fact));
    line.actor_id.starts_with("operator:") && !of_a_message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(action: &str, kind: &str, id: &str, metadata: serde_json::Value) -> Entry {
        serde_json::from_value(json!({
            "timestamp": "2026-01-01T00:00:00.000000Z", "org_id": "acme", "actor_id": "operator:ann", "action": action,
            "resource_type": kind, "resource_id": id, "outcome": "applied", "metadata": metadata,
        }))
        .unwrap()
    }

    #[test]
    fn what_counts_is_who_was_erased_which_tenants_began_to_be_and_what_is_still_held() {
        let at = Timestamp::parse("2026-01-01T00:00:00.000000Z").unwrap();
        let (one, two) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        let mut logged = Logged::default();
        for line in [
            line("erasure.executed", "subject", &one, json!({ "tombstone": "ab" })),
            line("erasure.executed", "subject", &two, json!({})),
            line("erasure.begun", "tenant", "acme", json!({})),
            line("hold.place", "legal_hold", &one, json!({ "matter": "a" })),
            line("hold.place", "legal_hold", &two, json!({ "matter": "b" })),
            line("hold.release", "legal_hold", &one, json!({ "matter": "a" })),
            // What a worker could say, which lifts nothing.
            line("hold.release", "legal_hold", &two, json!({ "publisher": "worker", "message_id": "m" })),
            line("projects.create", "project", "x", json!({})),
        ] {
            logged.take(at, &line);
        }
        assert_eq!((logged.erasures(), logged.nameless), (3, 0));
        let acme = &logged.people[&TenantId::parse("acme").unwrap()];
        assert_eq!(acme[&Uuid::from_u128(1)], Some(vec![0xab]));
        assert_eq!(acme[&Uuid::from_u128(2)], None);
        let held: Vec<&str> = logged.holds.values().map(|hold| hold.matter.as_str()).collect();
        assert_eq!(held, ["b"]);
        assert_eq!(logged.holds[&Uuid::from_u128(2)].placed_by, "ann");
        logged.take(at, &line("erasure.executed", "subject", "bob", json!({})));
        assert_eq!(logged.nameless, 1, "a line that names nobody is no line of ours");
    }
}
