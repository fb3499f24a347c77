//! What every process of a deployment agrees on: ids, envelope, seal, roles, payloads, audit events and topology.
//!
//! Pure and synchronous: no I/O, no clock, no randomness, no environment. Whatever a publisher in another
//! language has to know stands here.

mod audit;
mod currency;
mod envelope;
mod event;
mod facts;
pub mod fees;
mod ids;
mod keyring;
mod object;
mod operation;
mod outcome;
mod payload;
pub mod payloads;
mod principal;
mod registry;
mod roles;
mod seal;
mod service;
mod timestamp;
mod topology;
mod wire;

pub use audit::{AuditEvent, AuditEventKey, AuditLineFault};
pub use currency::{Currency, UnknownCurrency};
pub use envelope::{Envelope, EnvelopeFault, Origin};
pub use event::{Event, EventEntry};
pub use facts::unlisted_facts;
pub use ids::{CommandIdentity, IdFault, KeyId, MessageId, MessageType, PublisherName, TenantId, WorkerName};
pub use keyring::{Grant, Keyring, Opened, OutsideGrant, Publisher, SealFault, Signer, Tenants};
pub use object::{Object, is_clean};
pub use operation::OperationId;
pub use outcome::Outcome;
pub use payload::{Callers, Gate, Link, Malformed, Payload, Tenancy};
pub use principal::{ActorKind, Principal, Role};
pub use registry::{CheckedContract, Contract, ContractFault, PayloadEntry, Provider, SourceEntry};
pub use roles::{Action, Permission, RoleTable};
pub use seal::{SEAL_DOMAIN, SEALED_FIELDS, SealKey};
pub use service::{EventPattern, Service};
pub use timestamp::Timestamp;
pub use topology::{BrokerUser, Exchange, ExchangeKind, Lane, Permissions, QueueSpec, Route, Topology};
pub use wire::{Field, WireFault, WireMessage};
