//! For internal services: publish commands straight to the broker under a key of one's own, and take the events that
//! follow. `shared/examples/publish_command.rs` does both.
//!
//! Delivery is at-least-once in both directions. A command keeps its message id as long as idempotency key and body are
//! the same, so publish again whatever was not confirmed; it is applied once. An event keeps its message id too,
//! however often it comes, so remember the ids in the transaction that holds what you made of it.

mod commands;
mod events;

use secrecy::SecretString;
use url::Url;

use crate::amqp::{AmqpFault, Dialer, PublishFault};
use crate::config::Login;
use crate::contract::{KeyId, Lane, Malformed, PublisherName, SealKey, WireFault};

pub use commands::{CommandOptions, CommandPublisher};
pub use events::{EventConsumer, Incoming, ReceivedEvent, Refusal, WhyRefused};

/// Who a service is on the broker, as `[services.<name>]` made it.
#[derive(Debug, Clone)]
pub struct Account {
    /// `amqp://host:port/vhost` or `amqps://…`, tried in turn.
    pub addresses: Vec<Url>,
    /// Its broker user, such as `millrace-service-crm`.
    pub user: String,
    /// That user's password.
    pub password: SecretString,
    /// Name of the deployment; part of every seal.
    pub deployment: String,
    /// The service's name.
    pub name: PublisherName,
}

impl Account {
    fn dialer(&self) -> Dialer {
        let login = Login { user: self.user.clone(), password: self.password.clone() };
        Dialer::with(self.addresses.clone(), login, &format!("millrace-service-{}", self.name))
    }
}

/// The key under which a service seals, as `[publishers.<key id>]` has it.
#[derive(Debug, Clone)]
pub struct OwnKey {
    /// Which key.
    pub id: KeyId,
    /// The secret.
    pub key: SealKey,
    /// The lane of its grant. Without `main` there the broker refuses the main lane.
    pub lane: Lane,
}

/// Why a command was not published, or no event came.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The worker would not read this body; nothing was published.
    #[error("the body is refused at {0}")]
    Malformed(#[from] Malformed),
    /// The contract lists no command of this name.
    #[error("{0:?} is no command of this contract")]
    NoCommand(&'static str),
    /// Idempotency keys are not empty.
    #[error("the idempotency key is empty")]
    EmptyKey,
    /// A text that no field can carry.
    #[error("the message cannot be written: {0}")]
    Field(#[from] WireFault),
    /// The broker did not confirm. Publish again under the same idempotency key.
    #[error("the command is not known to be published")]
    NotConfirmed(#[from] PublishFault),
    /// The broker cannot be reached, refuses the login or the queue, or the connection was lost.
    #[error("the connection to the broker failed")]
    Broker(#[from] AmqpFault),
}
