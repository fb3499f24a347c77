//! How a message can go on from here.

use std::time::Duration;

use serde::Serialize;

use crate::contract::{Event, Outcome, Payload, Timestamp};

/// What a handler changed. Success has to name its target, so that the audit line cannot be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub(super) resource_type: &'static str,
    pub(super) resource: Resource,
    pub(super) events: Vec<Happened>,
    pub(super) later: Vec<Later>,
    /// SHA-256 of a document that the audit line vouches for.
    pub(super) certificate: Option<[u8; 32]>,
    /// Keyed tag of a person who is denied from now on.
    pub(super) tombstone: Option<[u8; 32]>,
}

/// A message to seal when its time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Later {
    pub(super) due: Timestamp,
    pub(super) subject: String,
    pub(super) name: &'static str,
    pub(super) schema_version: u32,
    pub(super) body: Vec<u8>,
}

/// The target of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// An id that says nothing about anybody.
    Id(String),
    /// A person, by the id that the identity provider gives it. Audit lines show a pseudonym instead.
    Person(String),
}

impl Resource {
    /// The id itself, for whoever asks what became of its command.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Person(id) => id,
        }
    }
}

/// A message that follows from a change, on its way to the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) destination: Destination,
    pub(super) name: &'static str,
    pub(super) schema_version: u32,
    pub(super) body: Vec<u8>,
}

/// Who gets what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Whoever has bound the event.
    Events,
    /// The worker that the contract names.
    Work,
}

impl Changed {
    /// The resource that was created, changed or removed. Its id stands in the audit line, for ever: it must say nothing
    /// about a person.
    pub fn resource(resource_type: &'static str, resource_id: impl Into<String>) -> Self {
        Self::of(resource_type, Resource::Id(resource_id.into()))
    }

    /// The person whom the change is about, by its id with the identity provider; the audit line shows its pseudonym.
    pub fn person(resource_type: &'static str, user_id: impl Into<String>) -> Self {
        Self::of(resource_type, Resource::Person(user_id.into()))
    }

    fn of(resource_type: &'static str, resource: Resource) -> Self {
        Self { resource_type, resource, events: Vec::new(), later: Vec::new(), certificate: None, tombstone: None }
    }

    /// Lets the audit line vouch for a document: it has the SHA-256 of its bytes.
    #[must_use]
    pub fn certified(mut self, digest: [u8; 32]) -> Self {
        self.certificate = Some(digest);
        self
    }

    /// Lets the audit line keep a person's tombstone, a keyed tag from which nobody can read the person: so a database that
    /// is restored from before finds whom it means.
    #[must_use]
    pub fn entombed(mut self, tag: [u8; 32]) -> Self {
        self.tombstone = Some(tag);
        self
    }

    /// Tells the world, once the change is committed. At most one event of a type for one message.
    ///
    /// # Errors
    /// A second event of the type, or one that cannot be rendered as JSON: no retry heals either.
    pub fn with_event<E: Event>(self, event: &E) -> Result<Self, Fault> {
        self.with(Destination::Events, E::NAME, E::SCHEMA_VERSION, event)
    }

    /// Hands the next step to the worker that takes it, once the change is committed: a message of its own, for the tenant
    /// in scope, in the name of this worker. At most one of a type for one message.
    ///
    /// # Errors
    /// As [`Self::with_event`].
    pub fn with_message<P: Payload + Serialize>(self, message: &P) -> Result<Self, Fault> {
        self.with(Destination::Work, P::NAME, P::SCHEMA_VERSION, message)
    }

    /// Leaves a message for later, for a worker that takes it: it is sealed when it is due. Of a type there is one for each
    /// subject of a tenant, and a later word about it replaces the earlier one, its time included.
    ///
    /// # Errors
    /// The message cannot be rendered as JSON.
    pub fn with_later<P: Payload + Serialize>(
        mut self,
        due: Timestamp,
        subject: impl Into<String>,
        message: &P,
    ) -> Result<Self, Fault> {
        let body = serde_json::to_vec(message).map_err(|_| Fault::Poison { code: "event_unrenderable" })?;
        let (name, schema_version) = (P::NAME, P::SCHEMA_VERSION);
        self.later.push(Later { due, subject: subject.into(), name, schema_version, body });
        Ok(self)
    }

    fn with(
        mut self,
        destination: Destination,
        name: &'static str,
        schema_version: u32,
        body: &impl Serialize,
    ) -> Result<Self, Fault> {
        // Two of one type would have one id, and whoever takes them would drop the second.
        if self.events.iter().any(|happened| happened.name == name) {
            return Err(Fault::Poison { code: "event_repeated" });
        }
        let body = serde_json::to_vec(body).map_err(|_| Fault::Poison { code: "event_unrenderable" })?;
        self.events.push(Happened { destination, name, schema_version, body });
        Ok(self)
    }
}

/// A handler's failure, which states its fate where it happens. Codes are stable texts that operators and callers
/// see; they never carry values.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Transient: try again later, and count it.
    #[error("try again: {code}")]
    Retry {
        /// What was missing.
        code: &'static str,
    },
    /// Something has to end first that is no failure: again later, not counted, for as long as `window`.
    #[error("wait: {code}")]
    Wait {
        /// For what.
        code: &'static str,
        /// For how long; then it is dead.
        window: Duration,
    },
    /// A final answer of the business: committed, audited, visible to the caller.
    #[error("rejected: {code}")]
    Reject {
        /// Why.
        code: &'static str,
    },
    /// The principal may not do this.
    #[error("denied by {rule}")]
    Deny {
        /// By which rule.
        rule: &'static str,
    },
    /// It can never succeed: dead at once.
    #[error("poison: {code}")]
    Poison {
        /// Why.
        code: &'static str,
    },
    /// A statement failed. Whether the message or the server is to blame, the pipeline finds out.
    #[error("a statement of the handler failed")]
    Database(#[from] sqlx::Error),
}

/// Where a message is going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its effect is in the transaction.
    Applied(Changed),
    /// Nobody handles this kind of provider event.
    Ignored,
    /// The business said no.
    Rejected { code: &'static str },
    /// The role table said no.
    Denied { rule: &'static str },
    /// The publisher's grant does not cover it; no inbox row, since nothing was decided about its content.
    OutsideGrant { rule: &'static str },
    /// Set aside.
    Dead { code: &'static str, attempts: i32 },
    /// Kept as a dead letter in this transaction; `redrives` of the message's letters were redriven before.
    Buried { code: &'static str, attempts: i32, redrives: i32 },
    /// Again later, counted; not before `after` is over.
    Retry { code: &'static str, after: Duration },
    /// Again later, not counted and not before `after` is over, for as long as `window`; then dead.
    Wait { code: &'static str, window: Duration, after: Duration },
    /// Parked in this transaction.
    Parked { code: &'static str },
    /// Settled before; nothing to do but ack.
    Duplicate,
}

impl Fate {
    /// Again later, counted, whenever its turn comes.
    pub(super) fn retry(code: &'static str) -> Self {
        Self::Retry { code, after: Duration::ZERO }
    }

    /// Again later, uncounted, whenever its turn comes.
    pub(super) const fn wait(code: &'static str, window: Duration) -> Self {
        Self::Wait { code, window, after: Duration::ZERO }
    }

    /// The outcome that gets an audit line, if this is one.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Applied(_) => Some(Outcome::Applied),
            Self::Ignored => Some(Outcome::Ignored),
            Self::Rejected { .. } => Some(Outcome::Rejected),
            Self::Denied { .. } | Self::OutsideGrant { .. } => Some(Outcome::Denied),
            Self::Dead { .. } | Self::Buried { .. } => Some(Outcome::Dead),
            Self::Retry { .. } | Self::Wait { .. } | Self::Parked { .. } | Self::Duplicate => None,
        }
    }

    /// The stable code or rule behind it, for lines and metrics.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { code } | Self::Dead { code, .. } | Self::Retry { code, .. } | Self::Parked { code } => {
                Some(code)
            }
            Self::Buried { code, .. } | Self::Wait { code, .. } => Some(code),
            Self::Denied { rule } | Self::OutsideGrant { rule } => Some(rule),
            Self::Applied(_) | Self::Ignored | Self::Duplicate => None,
        }
    }

    /// Does the message leave an inbox row? A parked or dead one must not: its later copy has the same key.
    pub(super) fn claims(&self) -> bool {
        matches!(self, Self::Applied(_) | Self::Ignored | Self::Rejected { .. } | Self::Denied { .. })
    }
}
