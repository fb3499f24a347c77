//! `[amqp]`: broker addresses and one login for each kind of process.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::{Process, Reader};
use crate::contract::BrokerUser;

/// A user name with its password.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: SecretString,
}

/// Where the broker is and who we are there.
#[derive(Debug, Clone)]
pub struct AmqpConfig {
    /// `amqp://host:port/vhost` or `amqps://…`, without user and password; tried in turn.
    pub addresses: Vec<Url>,
    /// Pause between heartbeats. A peer that was silent for two of them is gone, whatever TCP says.
    pub heartbeat: Duration,
    /// The logins this process needs.
    pub logins: BTreeMap<BrokerUser, Login>,
}

impl AmqpConfig {
    /// The pause between heartbeats where none is named.
    pub const HEARTBEAT: Duration = Duration::from_secs(15);

    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let addresses = s.list("addresses");
        if addresses.is_empty() {
            s.mistake("addresses", "is missing: list at least one, such as \"amqps://broker.example:5671/millrace\"");
        }
        let addresses = addresses.iter().filter_map(|text| address(s, text)).collect();
        let logins = s.section("logins", |s| {
            BrokerUser::ALL.into_iter().filter_map(|user| login(s, user, process).map(|l| (user, l))).collect()
        });
        let heartbeat = Duration::from_secs(s.number("heartbeat_s", Self::HEARTBEAT.as_secs(), 1..=60));
        Self { addresses, heartbeat, logins }
    }
}

fn address(s: &mut Reader, text: &str) -> Option<Url> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "amqp" | "amqps") => {
            s.mistake("addresses", "an address must begin with amqp:// or amqps://");
            None
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            s.mistake("addresses", "an address must not carry a user or password; use [amqp.logins.<process>]");
            None
        }
        Ok(url) if url.host_str().is_none() => {
            s.mistake("addresses", "an address must name a host");
            None
        }
        Ok(url) => Some(url),
        Err(e) => {
            s.mistake("addresses", format!("not a URL: {e}"));
            None
        }
    }
}

fn login(s: &mut Reader, user: BrokerUser, process: Process) -> Option<Login> {
    let needed = match user {
        BrokerUser::Ingress => process.is(Process::Ingress),
        BrokerUser::Worker => process.is(Process::Worker),
        BrokerUser::Relay => process.is(Process::Relay),
        BrokerUser::Audit => process.is(Process::Audit),
    };
    s.section(user.as_str(), |s| {
        let name = s.text("user", Some(&format!("millrace-{}", user.as_str())));
        s.secret("password", needed).map(|password| Login { user: name, password })
    })
}
