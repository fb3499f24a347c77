//! Exchanges, queues, policies and permissions, computed from the contract.

use std::borrow::Cow;

use super::{CheckedContract, MessageType, WorkerName};

/// One of the two ways into a worker's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Within the tenant's rate.
    Main,
    /// Beyond it, and whatever a direct publisher sends without a grant for main.
    Overflow,
}

impl Lane {
    /// Both lanes, better one first.
    pub const ALL: [Self; 2] = [Self::Main, Self::Overflow];

    /// The text in headers and queue names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Overflow => "overflow",
        }
    }

    /// Reads the text of the header.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text)
    }
}

/// The named exchanges. Naming them keeps each user's write permission narrow, which the default exchange
/// could not: whoever may write to that reaches every queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Work for the workers; routed by `<worker>.<lane>`.
    Work,
    /// Work of services that publish by themselves: routed by `<worker>`, and to overflow lanes alone.
    Direct,
    /// Audit events.
    Audit,
    /// Events for whoever has a grant.
    Events,
    /// Where the broker puts what a queue gave up on.
    Dead,
    /// Where it puts what even the dead-letter queue gave up on.
    Quarantine,
}

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By equal routing key.
    Direct,
    /// By pattern.
    Topic,
    /// To every bound queue.
    Fanout,
}

impl Exchange {
    /// All exchanges.
    pub const ALL: [Self; 6] = [Self::Work, Self::Direct, Self::Audit, Self::Events, Self::Dead, Self::Quarantine];

    /// Its name on the broker.
    pub fn name(self) -> &'static str {
        match self {
            Self::Work => "millrace.work",
            Self::Direct => "millrace.direct",
            Self::Audit => "millrace.audit",
            Self::Events => "millrace.events",
            Self::Dead => "millrace.dead",
            Self::Quarantine => "millrace.quarantine",
        }
    }

    /// How it routes.
    pub fn kind(self) -> ExchangeKind {
        match self {
            Self::Work | Self::Direct | Self::Audit => ExchangeKind::Direct,
            Self::Events => ExchangeKind::Topic,
            Self::Dead | Self::Quarantine => ExchangeKind::Fanout,
        }
    }
}

/// Where a message is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Exchange name.
    pub exchange: String,
    /// Routing key.
    pub routing_key: String,
}

impl Route {
    /// Into a worker's lane.
    pub fn work(worker: &WorkerName, lane: Lane) -> Self {
        Self { exchange: Exchange::Work.name().to_owned(), routing_key: format!("{worker}.{}", lane.as_str()) }
    }

    /// Into a worker's overflow lane, for a service that publishes by itself.
    pub fn direct(worker: &WorkerName) -> Self {
        Self { exchange: Exchange::Direct.name().to_owned(), routing_key: worker.to_string() }
    }

    /// To whoever consumes events of this type.
    pub fn event(event: &MessageType) -> Self {
        Self { exchange: Exchange::Events.name().to_owned(), routing_key: event.to_string() }
    }

    /// Must a queue take it? An event that nobody consumes is nobody's loss.
    pub fn is_mandatory(&self) -> bool {
        self.exchange != Exchange::Events.name()
    }

    /// Into the audit queue.
    pub fn audit() -> Self {
        Self { exchange: Exchange::Audit.name().to_owned(), routing_key: Topology::AUDIT_QUEUE.to_owned() }
    }
}

/// A queue with its bindings. All are durable quorum queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Name.
    pub name: String,
    /// The exchanges it is bound to, each with the binding's key.
    pub bindings: Vec<(Exchange, String)>,
    /// One active consumer at a time; only the audit queue.
    pub single_active_consumer: bool,
}

/// The broker users, one for each kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BrokerUser {
    /// Publishes work, nothing else.
    Ingress,
    /// Consumes work and dead letters, publishes audit events, events and the work that follows from work.
    Worker,
    /// Publishes everything stored, consumes nothing.
    Relay,
    /// Consumes audit events, publishes nothing.
    Audit,
}

/// Regular expressions as RabbitMQ's permissions take them; empty text matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// May declare or delete.
    pub configure: &'static str,
    /// May publish to.
    pub write: &'static str,
    /// May consume from.
    pub read: Cow<'static, str>,
}

impl BrokerUser {
    /// Every user.
    pub const ALL: [Self; 4] = [Self::Ingress, Self::Worker, Self::Relay, Self::Audit];

    /// Key of its credentials in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Worker => "worker",
            Self::Relay => "relay",
            Self::Audit => "audit",
        }
    }

    /// The narrowest permissions that work.
    pub fn permissions(self) -> Permissions {
        let (write, read) = match self {
            Self::Ingress => (r"^millrace\.work$", "^$"),
            Self::Worker => (r"^millrace\.(work|audit|events)$", r"^(work\..*|dead)$"),
            Self::Relay => (r"^millrace\.(work|audit|events)$", "^$"),
            Self::Audit => ("^$", "^audit$"),
        };
        Permissions { configure: "^$", write, read: Cow::Borrowed(read) }
    }
}

/// Everything the broker has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The queues.
    pub queues: Vec<QueueSpec>,
}

impl Topology {
    /// The audit queue.
    pub const AUDIT_QUEUE: &'static str = "audit";
    /// The broker's dead-letter queue.
    pub const DEAD_QUEUE: &'static str = "dead";
    /// What no client can read off the wire. Nobody consumes it; an operator looks.
    pub const QUARANTINE_QUEUE: &'static str = "quarantine";
    /// The broker's own give-up limit: only a last net, since attempts are counted in Postgres.
    pub const DELIVERY_LIMIT: u32 = 200;
    /// The same for the dead-letter queue, whose consumer takes one message at a time.
    pub const DEAD_DELIVERY_LIMIT: u32 = 50;
    /// The same for quarantine, which has no queue behind it: none in effect, in a form that every RabbitMQ takes.
    pub const QUARANTINE_DELIVERY_LIMIT: u32 = 1_000_000;

    /// The queues of a contract's workers, the audit queue and the dead-letter queue.
    pub fn of(contract: &CheckedContract) -> Self {
        let mut queues = Vec::new();
        for worker in contract.workers() {
            for lane in Lane::ALL {
                let mut bindings = vec![(Exchange::Work, Route::work(worker, lane).routing_key)];
                if lane == Lane::Overflow {
                    bindings.push((Exchange::Direct, Route::direct(worker).routing_key));
                }
                let name = Self::work_queue(worker, lane);
                queues.push(QueueSpec { name, bindings, single_active_consumer: false });
            }
        }
        let fixed = |name: &str, exchange, single_active_consumer| QueueSpec {
            name: name.to_owned(),
            bindings: vec![(exchange, name.to_owned())],
            single_active_consumer,
        };
        queues.push(fixed(Self::AUDIT_QUEUE, Exchange::Audit, true));
        queues.push(fixed(Self::DEAD_QUEUE, Exchange::Dead, false));
        queues.push(fixed(Self::QUARANTINE_QUEUE, Exchange::Quarantine, false));
        Self { queues }
    }

    /// Name of a worker's queue.
    pub fn work_queue(worker: &WorkerName, lane: Lane) -> String {
        format!("work.{worker}.{}", lane.as_str())
    }
}
