//! Dialing the broker.

use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::Url;

use super::dial::dial;
use crate::config::{AmqpConfig, Login};
use crate::contract::BrokerUser;

/// Bound of one dial: TCP, TLS and AMQP handshake together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of an orderly close, which a blocked connection could hold up for ever.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What can go wrong with the broker.
#[derive(Debug, thiserror::Error)]
pub enum AmqpFault {
    /// No address answered; the last one's reason.
    #[error("no broker of amqp.addresses can be reached")]
    Unreachable(#[source] lapin::Error),
    /// Dialing took too long.
    #[error("the broker did not answer within {} s", DIAL_TIMEOUT.as_secs())]
    DialTimeout,
    /// This process was not given a login for its part.
    #[error("amqp.logins.{0} is missing")]
    NoLogin(&'static str),
    /// The broker refused an operation, or the connection broke.
    #[error("the broker connection failed at {step}")]
    Failed {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: lapin::Error,
    },
    /// The broker cancelled the consumer: its queue was deleted, or its node went away.
    #[error("the broker cancelled the consumer of {0}")]
    Cancelled(String),
    /// An acknowledgement came too late: its channel is gone, and the broker will deliver again.
    #[error("the channel of this delivery is gone")]
    Stale,
}

impl AmqpFault {
    /// The peer's bytes could not be parsed. lapin ends the whole connection over a short string that is not UTF-8, so
    /// one hostile property costs every consumer of the connection its channel.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if matches!(source.kind(), lapin::ErrorKind::ParsingError(_)))
    }
}

/// Names the step that failed.
pub(super) fn at(step: &'static str) -> impl FnOnce(lapin::Error) -> AmqpFault {
    move |source| AmqpFault::Failed { step, source }
}

/// Where to dial, and as whom.
#[derive(Debug, Clone)]
pub struct Dialer {
    addresses: Vec<Url>,
    heartbeat: Duration,
    login: Login,
    name: String,
}

impl Dialer {
    /// Takes the login of `user` from the configuration; `name` shows in the broker's list of connections.
    ///
    /// # Errors
    /// [`AmqpFault::NoLogin`].
    pub fn new(config: &AmqpConfig, user: BrokerUser, name: &str) -> Result<Self, AmqpFault> {
        let login = config.logins.get(&user).ok_or(AmqpFault::NoLogin(user.as_str()))?;
        Ok(Self { heartbeat: config.heartbeat, ..Self::with(config.addresses.clone(), login.clone(), name) })
    }

    /// Dials with a login of one's own, as tools do.
    pub fn with(addresses: Vec<Url>, login: Login, name: &str) -> Self {
        Self { addresses, heartbeat: AmqpConfig::HEARTBEAT, login, name: name.to_owned() }
    }

    /// Tries each address once, in order.
    pub(super) async fn dial(&self) -> Result<Connection, AmqpFault> {
        let mut last = AmqpFault::DialTimeout;
        for address in &self.addresses {
            let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
            let dial = dial(self.uri(address), properties, DIAL_TIMEOUT);
            match tokio::time::timeout(DIAL_TIMEOUT, dial).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(e)) => last = AmqpFault::Unreachable(e),
                Err(_) => last = AmqpFault::DialTimeout,
            }
        }
        Err(last)
    }

    fn uri(&self, address: &Url) -> AMQPUri {
        let tls = address.scheme() == "amqps";
        let vhost = percent_decode_str(address.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
        AMQPUri {
            scheme: if tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.login.user.clone(),
                    password: self.login.password.expose_secret().to_owned(),
                },
                host: address.host_str().unwrap_or("localhost").to_owned(),
                port: address.port().unwrap_or(if tls { 5671 } else { 5672 }),
            },
            vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
            query: AMQPQueryString {
                heartbeat: Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX)),
                connection_timeout: Some(u64::try_from(DIAL_TIMEOUT.as_millis()).unwrap_or(5_000)),
                ..AMQPQueryString::default()
            },
        }
    }
}

/// Closes in order, but never waits long.
pub(super) async fn close(connection: &Connection) {
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.close(200, "bye".into())).await;
}
