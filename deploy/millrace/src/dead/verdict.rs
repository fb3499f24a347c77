//! Where a letter goes when it is redriven, or why it stays.

use std::fmt;

use millrace::contract::{CheckedContract, Lane, MessageType, Route, Timestamp, Topology};
use millrace::pipeline::{TOO_OLD, WINDOW};
use time::OffsetDateTime;

use super::letter::{Letter, moment};

/// Why a letter stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// No letter has this id.
    NotThere,
    /// Somebody has redriven or discarded it.
    Marked { state: String, by: String, at: OffsetDateTime },
    /// What no text can hold is not in the letter either, so the message cannot be sent as it was.
    Incomplete,
    /// Nobody sealed it, and no key and no newer build will change that.
    Unsealed,
    /// No worker of this contract takes it.
    Unroutable,
    /// The inbox may have forgotten that it was applied.
    TooOld,
}

impl Refused {
    /// Stable code, for programs and counts.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotThere => "not_there",
            Self::Marked { .. } => "marked",
            Self::Incomplete => "incomplete",
            Self::Unsealed => "unsealed",
            Self::Unroutable => "unroutable",
            Self::TooOld => "too_old",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => f.write_str("there is no such letter: millrace dead list shows those there are"),
            Self::Marked { state, by, at } => write!(f, "{state} already, by {by} at {}", moment(*at)),
            Self::Incomplete => f.write_str("fields that were no text are not kept, so it cannot be sent as it was"),
            Self::Unsealed => f.write_str("nobody sealed it, so no worker will ever take it: discard it"),
            Self::Unroutable => f.write_str("no worker of this contract takes it: add the worker, or discard it"),
            Self::TooOld => f.write_str(
                "older than the 35 days that the inbox remembers, so it could be applied twice; if you know that it \
                was not: --force --because TEXT",
            ),
        }
    }
}

impl Letter {
    /// A letter is marked once.
    pub(super) fn still_open(&self) -> Result<(), Refused> {
        match (&self.marked_by, self.marked_at) {
            (Some(by), Some(at)) => Err(Refused::Marked { state: self.state.clone(), by: by.clone(), at }),
            _ => Ok(()),
        }
    }

    /// The queue that the message came from, in its overflow lane, so that a mass redrive delays nobody. Seal and grant are
    /// judged there again: a key that was missing, or a build that was too old, may be what has changed.
    pub(super) fn route(&self, contract: &CheckedContract, now: OffsetDateTime, force: bool) -> Result<Route, Refused> {
        match self.reason.as_str() {
            "not_text" => return Err(Refused::Incomplete),
            "unsealed" => return Err(Refused::Unsealed),
            _ if !force && self.is_too_old(now) => return Err(Refused::TooOld),
            _ => {}
        }
        self.home(contract).ok_or(Refused::Unroutable)
    }

    fn is_too_old(&self, now: OffsetDateTime) -> bool {
        let issued = self.issued_at.as_deref().and_then(Timestamp::parse);
        self.reason == TOO_OLD || issued.is_some_and(|issued| now - issued.moment() > WINDOW)
    }

    fn home(&self, contract: &CheckedContract) -> Option<Route> {
        if self.queue != Topology::DEAD_QUEUE {
            let has_queue = |lane| move |worker: &&_| Topology::work_queue(worker, lane) == self.queue;
            let worker = Lane::ALL.into_iter().find_map(|lane| contract.workers().iter().find(has_queue(lane)));
            return worker.map(|worker| Route::work(worker, Lane::Overflow));
        }
        // The broker gave up on it, and only its type says for whom it was.
        let message_type = self.message_type.as_deref().or(self.wire_type.as_deref())?;
        let message_type = MessageType::parse(message_type).ok()?;
        if message_type == MessageType::audit_event() {
            return Some(Route::audit());
        }
        let entry = contract.payload(message_type.as_str())?;
        Some(Route::work(&entry.worker, Lane::Overflow))
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn letter(queue: &str, reason: &str, message_type: Option<&str>) -> Letter {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        Letter {
            id: uuid::Uuid::nil(),
            org_id: "acme".to_owned(),
            publisher: None,
            message_id: None,
            message_type: message_type.map(str::to_owned),
            queue: queue.to_owned(),
            reason: reason.to_owned(),
            attempts: 0,
            redrives: 0,
            created_at: now,
            state: "open".to_owned(),
            marked_at: None,
            marked_by: None,
            wire_type: None,
            issued_at: Some(moment(now)),
        }
    }

    fn routed(letter: &Letter, days: i64, force: bool) -> Result<String, Refused> {
        let contract = millrace::builtin().check().unwrap();
        let route = letter.route(&contract, letter.created_at + Duration::days(days), force)?;
        Ok(format!("{} {}", route.exchange, route.routing_key))
    }

    #[test]
    fn a_letter_goes_back_where_it_came_from_and_always_over_overflow() {
        let (billing, projects) = ("millrace.work billing.overflow", "millrace.work projects.overflow");
        for (queue, message_type, wanted) in [
            ("work.billing.main", Some("stripe.event"), Ok(billing)),
            ("work.billing.overflow", None, Ok(billing)),
            ("work.billing.main", Some("projects.create"), Ok(billing)),
            ("dead", Some("projects.create"), Ok(projects)),
            ("dead", Some("audit.event"), Ok("millrace.audit audit")),
            ("dead", Some("nobodys.type"), Err(Refused::Unroutable)),
            ("dead", None, Err(Refused::Unroutable)),
            ("work.nobody.main", Some("projects.create"), Err(Refused::Unroutable)),
            ("elsewhere", Some("projects.create"), Err(Refused::Unroutable)),
        ] {
            let found = routed(&letter(queue, "malformed", message_type), 0, false);
            assert_eq!(found, wanted.map(str::to_owned), "{queue} {message_type:?}");
        }
        let mut forged = letter("dead", "forged", None);
        forged.wire_type = Some("projects.create".to_owned());
        assert_eq!(routed(&forged, 0, false).as_deref(), Ok(projects), "its key may have been the wrong one");
    }

    #[test]
    fn what_nothing_heals_stays_and_what_is_too_old_takes_force() {
        for (reason, refused) in [("unsealed", Refused::Unsealed), ("not_text", Refused::Incomplete)] {
            assert_eq!(routed(&letter("work.billing.main", reason, None), 0, true), Err(refused));
        }
        let aged = letter("work.billing.main", "malformed", None);
        assert!(routed(&aged, 35, false).is_ok());
        assert_eq!(routed(&aged, 36, false), Err(Refused::TooOld));
        assert!(routed(&aged, 36, true).is_ok());
        let late = letter("work.billing.main", "too_old_to_dedupe", None);
        assert_eq!(routed(&late, 0, false), Err(Refused::TooOld));
        assert!(routed(&late, 0, true).is_ok());
    }
}
