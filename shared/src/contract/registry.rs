//! The contract: resources, role table, workers, payload types and webhook sources, as one explicit list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Callers, Event, EventEntry, Gate, Malformed, MessageType, Payload, Permission, RoleTable, Tenancy, WorkerName,
};

/// A payload type as the contract lists it.
#[derive(Debug, Clone)]
pub struct PayloadEntry {
    /// Stable wire name.
    pub name: MessageType,
    /// The worker that takes it.
    pub worker: WorkerName,
    /// What it takes to be allowed.
    pub permission: Permission,
    /// Who may send it.
    pub callers: Callers,
    /// What its tenant's standing has to be.
    pub gate: Gate,
    /// Does its handler compare the version that the caller expects?
    pub versioned: bool,
    /// Newest shape this build reads.
    pub schema_version: u32,
    /// JSON Schema of the body.
    pub schema: Value,
    /// Reads a body as its worker will, and forgets it: the edge's early answer.
    pub check: fn(&[u8]) -> Result<(), Malformed>,
    /// Reads a body for where its tenant stands, as far as it says so itself.
    pub tenancy: fn(&[u8]) -> Result<Tenancy, Malformed>,
}

impl PayloadEntry {
    fn of<P: Payload>(name: MessageType, worker: WorkerName) -> Self {
        Self {
            name,
            worker,
            permission: P::PERMISSION,
            callers: P::CALLERS,
            gate: P::GATE,
            versioned: P::VERSIONED,
            schema_version: P::SCHEMA_VERSION,
            schema: P::schema(),
            check: |body| P::parse(body).map(drop),
            tenancy: |body| P::parse(body).map(|payload| payload.tenancy()),
        }
    }
}

/// A webhook provider that Millrace can verify, and the message type its events become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Stripe and Stripe Connect.
    Stripe,
}

impl Provider {
    /// The name in `[sources.*] provider = ".."`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
        }
    }

    /// Reads the name in configuration.
    pub fn parse(text: &str) -> Option<Self> {
        (text == Self::Stripe.as_str()).then_some(Self::Stripe)
    }
}

/// A provider with the type of the messages that its events become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// Who sends.
    pub provider: Provider,
    /// What its events become.
    pub message_type: MessageType,
}

/// A mistake in the contract; found at start, before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractFault {
    /// A name outside its alphabet or length.
    #[error("{0:?} is no valid name: {1}")]
    Name(String, String),
    /// Two entries of one kind share a name.
    #[error("{0} {1:?} is listed twice")]
    Duplicate(&'static str, String),
    /// A command before any worker.
    #[error("{0:?} is listed before any worker; call .worker(..) first")]
    NoWorker(String),
    /// A permission on a resource that the contract does not list.
    #[error("{0:?} needs a permission on resource {1:?}, which the contract does not list")]
    UnknownResource(String, String),
    /// A source whose events nobody takes.
    #[error("events of source {0:?} become {1:?}, which no worker takes")]
    Unrouted(&'static str, String),
}

/// Builds the list; [`Contract::check`] finds its mistakes.
#[derive(Debug, Clone, Default)]
pub struct Contract {
    resources: Vec<String>,
    roles: RoleTable,
    workers: Vec<String>,
    payloads: Vec<Listed>,
    events: Vec<(&'static str, u32, Value)>,
    sources: Vec<(Provider, &'static str)>,
}

/// A payload type before its names are checked.
#[derive(Debug, Clone)]
struct Listed {
    name: &'static str,
    worker: Option<String>,
    permission: Permission,
    entry: fn(MessageType, WorkerName) -> PayloadEntry,
}

impl Contract {
    /// Adds a resource with what each role may do to it.
    #[must_use]
    pub fn resource(mut self, name: &str, grants: RoleTable) -> Self {
        self.resources.push(name.to_owned());
        self.roles = self.roles.merge(grants);
        self
    }

    /// Adds grants on resources already listed.
    #[must_use]
    pub fn roles(mut self, grants: RoleTable) -> Self {
        self.roles = self.roles.merge(grants);
        self
    }

    /// Opens a worker; the commands that follow are its.
    #[must_use]
    pub fn worker(mut self, name: &str) -> Self {
        self.workers.push(name.to_owned());
        self
    }

    /// Adds a payload type to the worker opened last.
    #[must_use]
    pub fn command<P: Payload>(mut self) -> Self {
        let worker = self.workers.last().cloned();
        self.payloads.push(Listed { name: P::NAME, worker, permission: P::PERMISSION, entry: PayloadEntry::of::<P> });
        self
    }

    /// Adds an event that applied messages may lead to.
    #[must_use]
    pub fn event<E: Event>(mut self) -> Self {
        self.events.push((E::NAME, E::SCHEMA_VERSION, E::schema()));
        self
    }

    /// Says which message type a provider's events become.
    #[must_use]
    pub fn source<P: Payload>(mut self, provider: Provider) -> Self {
        self.sources.push((provider, P::NAME));
        self
    }

    /// Finds every mistake at once.
    ///
    /// # Errors
    /// All [`ContractFault`]s.
    pub fn check(self) -> Result<CheckedContract, Vec<ContractFault>> {
        let mut faults = Vec::new();
        let known: BTreeSet<_> = self.resources.iter().cloned().collect();
        duplicates("resource", &self.resources, &mut faults);
        duplicates("worker", &self.workers, &mut faults);
        duplicates("source", self.sources.iter().map(|(p, _)| p.as_str()), &mut faults);
        let names = self.payloads.iter().map(|listed| listed.name).chain(self.events.iter().map(|(name, ..)| *name));
        duplicates("message type", names, &mut faults);
        let workers = self.workers.iter().filter_map(|w| named(w, WorkerName::parse, &mut faults)).collect();
        let mut payloads = BTreeMap::new();
        for Listed { name, worker, permission, entry } in &self.payloads {
            if !known.contains(permission.resource) {
                faults.push(ContractFault::UnknownResource((*name).to_owned(), permission.resource.to_owned()));
            }
            let Some(worker) = worker else {
                faults.push(ContractFault::NoWorker((*name).to_owned()));
                continue;
            };
            let Some(parsed) = named(name, MessageType::parse, &mut faults) else { continue };
            let Ok(worker) = WorkerName::parse(worker) else { continue };
            payloads.insert((*name).to_owned(), entry(parsed, worker));
        }
        let events = events(self.events, &mut faults);
        let mut sources = Vec::new();
        for (provider, name) in self.sources {
            match payloads.get(name) {
                Some(entry) => sources.push(SourceEntry { provider, message_type: entry.name.clone() }),
                None => faults.push(ContractFault::Unrouted(provider.as_str(), name.to_owned())),
            }
        }
        if faults.is_empty() {
            Ok(CheckedContract { roles: self.roles, resources: self.resources, workers, payloads, events, sources })
        } else {
            Err(faults)
        }
    }
}

fn events(listed: Vec<(&'static str, u32, Value)>, faults: &mut Vec<ContractFault>) -> BTreeMap<String, EventEntry> {
    let named = listed.into_iter().filter_map(|(name, schema_version, schema)| {
        Some(EventEntry { name: named(name, MessageType::parse, faults)?, schema_version, schema })
    });
    named.map(|entry| (entry.name.to_string(), entry)).collect()
}

fn duplicates(kind: &'static str, names: impl IntoIterator<Item = impl AsRef<str>>, faults: &mut Vec<ContractFault>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.as_ref().to_owned()) {
            faults.push(ContractFault::Duplicate(kind, name.as_ref().to_owned()));
        }
    }
}

fn named<T>(
    name: &str,
    parse: impl Fn(&str) -> Result<T, super::IdFault>,
    faults: &mut Vec<ContractFault>,
) -> Option<T> {
    parse(name).map_err(|fault| faults.push(ContractFault::Name(name.to_owned(), fault.to_string()))).ok()
}

/// A contract without mistakes.
#[derive(Debug, Clone)]
pub struct CheckedContract {
    roles: RoleTable,
    resources: Vec<String>,
    workers: Vec<WorkerName>,
    payloads: BTreeMap<String, PayloadEntry>,
    events: BTreeMap<String, EventEntry>,
    sources: Vec<SourceEntry>,
}

impl CheckedContract {
    /// The role table.
    pub fn roles(&self) -> &RoleTable {
        &self.roles
    }

    /// The resources that permissions are about, in the order in which they were listed.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// Every payload type, by name.
    pub fn payloads(&self) -> impl Iterator<Item = &PayloadEntry> {
        self.payloads.values()
    }

    /// The payload types that tenants' users and services send.
    pub fn commands(&self) -> impl Iterator<Item = &PayloadEntry> {
        self.payloads.values().filter(|entry| entry.callers.send_commands())
    }

    /// The events that applied messages may lead to, by name.
    pub fn events(&self) -> impl Iterator<Item = &EventEntry> {
        self.events.values()
    }

    /// An event by its wire name.
    pub fn event(&self, name: &str) -> Option<&EventEntry> {
        self.events.get(name)
    }

    /// The workers with a queue of their own.
    pub fn workers(&self) -> &[WorkerName] {
        &self.workers
    }

    /// A payload type by its wire name.
    pub fn payload(&self, name: &str) -> Option<&PayloadEntry> {
        self.payloads.get(name)
    }

    /// The payload types that one worker takes.
    pub fn payloads_of<'a>(&'a self, worker: &'a WorkerName) -> impl Iterator<Item = &'a PayloadEntry> {
        self.payloads.values().filter(move |entry| &entry.worker == worker)
    }

    /// The webhook providers.
    pub fn sources(&self) -> &[SourceEntry] {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use super::super::payloads::StripeEvent;
    use super::*;

    #[test]
    fn the_builtin_contract_has_no_mistakes() {
        assert!(crate::builtin().check().is_ok());
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let faults = Contract::default()
            .resource("billing", RoleTable::default())
            .resource("billing", RoleTable::default())
            .command::<StripeEvent>()
            .worker("Billing!")
            .command::<StripeEvent>()
            .check()
            .unwrap_err();
        assert!(faults.contains(&ContractFault::Duplicate("resource", "billing".into())));
        assert!(faults.contains(&ContractFault::Duplicate("message type", "stripe.event".into())));
        assert!(faults.contains(&ContractFault::NoWorker("stripe.event".into())));
        assert!(faults.iter().any(|f| matches!(f, ContractFault::Name(name, _) if name == "Billing!")));
    }
}
