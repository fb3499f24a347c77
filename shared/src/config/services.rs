//! `[services.<name>]`: internal services that publish and consume by themselves, each with a broker user of its own.

use std::collections::BTreeSet;

use super::{Config, Login, Process, Reader};
use crate::contract::{CheckedContract, EventPattern, Lane, PublisherName, Service};

/// Publishers that are parts of Millrace.
const OWN: [&str; 5] = ["ingress", "worker", "relay", "audit", "operator"];

/// One internal service.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Its name, which is that of its seal keys' publisher too.
    pub name: PublisherName,
    /// Name of its broker user.
    pub user: String,
    /// That user with its password, where the process sets up the broker.
    pub login: Option<Login>,
    /// Does it publish commands?
    pub publishes: bool,
    /// The events it takes.
    pub consumes: Vec<EventPattern>,
}

impl Config {
    /// A service as the broker has to know it: its permissions follow the best lane that one of its keys is granted.
    pub fn service(&self, config: &ServiceConfig) -> Service {
        let lanes = self.publishers.keyring().grants_of(&config.name).map(|grant| grant.lane);
        Service {
            name: config.name.clone(),
            publishes: config.publishes.then(|| lanes.min().unwrap_or(Lane::Overflow)),
            consumes: config.consumes.clone(),
        }
    }
}

pub(super) fn read(s: &mut Reader, process: Process, contract: &CheckedContract) -> Vec<ServiceConfig> {
    let names = s.names();
    names.iter().filter_map(|name| s.section(name, |s| service(s, name, process, contract))).collect()
}

fn service(s: &mut Reader, name: &str, process: Process, contract: &CheckedContract) -> Option<ServiceConfig> {
    let parsed = PublisherName::parse(name).map_err(|fault| s.mistake("", fault.to_string())).ok();
    if OWN.contains(&name) {
        s.mistake("", format!("{name:?} is a part of Millrace; give the service a name of its own"));
    }
    let user = s.text("user", Some(&format!("millrace-service-{name}")));
    let login = s.secret("password", process == Process::All).map(|password| Login { user: user.clone(), password });
    let publishes = s.word("publishes", false, &[("true", true), ("false", false)]);
    let consumes: Vec<_> = s.list("consumes").iter().filter_map(|text| pattern(s, text, contract)).collect();
    if !publishes && !s.has("consumes") {
        s.mistake("", "neither publishes nor consumes: set publishes = true, or consumes");
    }
    parsed.map(|name| ServiceConfig { name, user, login, publishes, consumes })
}

fn pattern(s: &mut Reader, text: &str, contract: &CheckedContract) -> Option<EventPattern> {
    let Some(pattern) = EventPattern::parse(text) else {
        s.mistake(
            "consumes",
            format!("{text:?} is no pattern of words of [a-z0-9_] between dots, with * or # for a word"),
        );
        return None;
    };
    if !contract.events().any(|event| pattern.matches(&event.name)) {
        let known: Vec<&str> = contract.events().map(|event| event.name.as_str()).collect();
        s.mistake("consumes", format!("{text:?} matches no event of the contract: {}", known.join(", ")));
    }
    Some(pattern)
}

/// What only the whole configuration shows: each service has a user for itself, and one that publishes has a key.
pub(super) fn check(config: &Config, reader: &mut Reader, process: Process) {
    if process != Process::All {
        return;
    }
    let mut users: BTreeSet<&str> = config.amqp.logins.values().map(|login| login.user.as_str()).collect();
    for service in &config.services {
        let place = |key: &str| format!("services.{}{key}", service.name);
        if !users.insert(&service.user) {
            let problem = format!("{:?} is another one's user, whose permissions would be lost", service.user);
            reader.mistake(&place(".user"), problem);
        }
        if service.publishes && config.publishers.keyring().grants_of(&service.name).next().is_none() {
            let problem =
                format!("publishes, but has no key: add [publishers.<key id>] with name = \"{}\"", service.name);
            reader.mistake(&place(""), problem);
        }
    }
}
