//! `[publishers.<key id>]`: seal keys and their grants.

use secrecy::ExposeSecret;

use super::compliance::hex_secret;
use super::{Process, Reader};
use crate::contract::{
    ActorKind, Grant, KeyId, Keyring, Lane, MessageType, Publisher, PublisherName, Role, SealKey, Signer, TenantId,
    Tenants,
};

/// The keys a process opens messages with, and the one it seals with.
#[derive(Debug)]
pub struct PublishersConfig {
    keyring: Keyring,
    signing: Vec<(PublisherName, KeyId)>,
}

impl PublishersConfig {
    /// Every key this process has.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The key a publisher signs with at present. `None` cannot happen for a publisher that the process needs:
    /// reading the configuration has made sure.
    pub fn signer(&self, publisher: &str) -> Option<Signer> {
        let (_, key_id) = self.signing.iter().find(|(name, _)| name.as_str() == publisher)?;
        self.keyring.signer(key_id)
    }

    pub(super) fn read(s: &mut Reader, process: Process, deployment: &str) -> Self {
        let mut publishers = Vec::new();
        let mut signing: Vec<(PublisherName, KeyId)> = Vec::new();
        for key_id in s.names() {
            let read = s.section(&key_id, |s| publisher(s, &key_id, process));
            let Some((publisher, signs)) = read else { continue };
            if signs && signing.iter().any(|(name, _)| *name == publisher.name) {
                s.mistake(&key_id, format!("publisher {} already signs with another key", publisher.name));
            } else if signs {
                signing.push((publisher.name.clone(), publisher.key_id.clone()));
            }
            publishers.push(publisher);
        }
        let needs = [("ingress", Process::Ingress), ("worker", Process::Worker), ("operator", Process::Operator)];
        for (name, needing) in needs {
            if process.is(needing) && !signing.iter().any(|(signer, _)| signer.as_str() == name) {
                s.mistake(name, "no key of this publisher signs: add one with name and signs = true");
            }
        }
        Self { keyring: Keyring::new(deployment, publishers), signing }
    }
}

/// The relay and the maker of tokens hold no key at all; a publisher's process holds only its own.
fn holds(process: Process, publisher: &str) -> bool {
    match process {
        Process::Relay | Process::Token => false,
        Process::Ingress => publisher == "ingress",
        Process::Operator => publisher == "operator",
        Process::Worker | Process::Audit | Process::All => true,
    }
}

fn publisher(s: &mut Reader, key_id: &str, process: Process) -> Option<(Publisher, bool)> {
    let name = s.parsed::<PublisherName>("name", None, "a publisher name of [a-z0-9_-]");
    let key_id = KeyId::parse(key_id).map_err(|e| s.mistake("", e.to_string())).ok();
    let signs = s.word("signs", false, &[("true", true), ("false", false)]);
    let grant = grant(s);
    let held = name.as_ref().is_some_and(|name| holds(process, name.as_str()));
    let secret = hex_secret(s, "secret", held)?;
    let key = SealKey::new(secret.expose_secret())?;
    Some((Publisher { key_id: key_id?, name: name?, grant, key }, signs)).filter(|_| held)
}

fn grant(s: &mut Reader) -> Grant {
    let types = s.list("types");
    let types = types
        .iter()
        .filter_map(|t| MessageType::parse(t).map_err(|e| s.mistake("types", format!("{t:?}: {e}"))).ok())
        .collect();
    let kinds = s.list("actor_kinds");
    let kinds = kinds
        .iter()
        .filter_map(|kind| {
            ActorKind::parse(kind).or_else(|| {
                s.mistake("actor_kinds", format!("{kind:?} is none of user, service, webhook, system, operator"));
                None
            })
        })
        .collect();
    Grant {
        types,
        tenants: tenants(s),
        kinds,
        highest_role: s.word("highest_role", Role::Viewer, &Role::ALL.map(|role| (role.as_str(), role))),
        lane: s.word("lane", Lane::Overflow, &Lane::ALL.map(|lane| (lane.as_str(), lane))),
    }
}

fn tenants(s: &mut Reader) -> Tenants {
    let named = s.list("tenants");
    match named.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["*"] => Tenants::All,
        [] => Tenants::Unresolved,
        some => Tenants::Only(
            some.iter()
                .filter_map(|t| TenantId::parse(t).map_err(|e| s.mistake("tenants", format!("{t:?}: {e}"))).ok())
                .collect(),
        ),
    }
}
