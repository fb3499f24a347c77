//! `[sources.<name>]`: webhook endpoints, each with its own secrets.

use std::time::Duration;

use secrecy::SecretString;

use super::{Process, Reader};
use crate::contract::{CheckedContract, MessageType, Provider};

/// One of a source's secrets. Several are active during a rotation.
#[derive(Debug, Clone)]
pub struct SourceSecret {
    /// Name in metrics and envelopes, so that operators see when an old secret has gone quiet.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
}

/// One webhook endpoint, served at `/api/webhooks/<name>`.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Name in the path, in envelopes and in dedupe keys.
    pub name: String,
    /// Whose signature scheme.
    pub provider: Provider,
    /// What its events become.
    pub message_type: MessageType,
    /// Expected mode; `None` accepts both, for Connect endpoints, which receive test events in live mode too.
    pub livemode: Option<bool>,
    /// How far a signature's time may lie from now, on both sides.
    pub tolerance: Duration,
    /// The active secrets.
    pub secrets: Vec<SourceSecret>,
}

pub(super) fn read(s: &mut Reader, process: Process, contract: &CheckedContract) -> Vec<SourceConfig> {
    let names = s.names();
    names.iter().filter_map(|name| s.section(name, |s| source(s, name, process, contract))).collect()
}

fn source(s: &mut Reader, name: &str, process: Process, contract: &CheckedContract) -> Option<SourceConfig> {
    let provider = s.text("provider", None);
    let entry = Provider::parse(&provider)
        .and_then(|provider| contract.sources().iter().find(|entry| entry.provider == provider));
    if entry.is_none() && !provider.is_empty() {
        s.mistake("provider", "is no provider of this deployment's contract; built in: stripe");
    }
    let livemode = s.word("livemode", Some(false), &[("true", Some(true)), ("false", Some(false)), ("any", None)]);
    let tolerance = Duration::from_secs(s.number("tolerance_s", 300, 1..=3_600));
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) {
        s.mistake("", "a source's name must be of [a-z0-9_-]: it stands in a path");
    }
    let needed = process.is(Process::Ingress);
    let secrets = s.section("secrets", |s| {
        let ids = s.names();
        ids.iter()
            .filter_map(|id| s.section(id, |s| s.secret("secret", needed)).map(|secret| (id.clone(), secret)))
            .map(|(id, secret)| SourceSecret { id, secret })
            .collect::<Vec<_>>()
    });
    if needed && secrets.is_empty() {
        s.mistake("secrets", "a source without a secret would accept anything: add [sources.NAME.secrets.ID]");
    }
    entry.map(|entry| SourceConfig {
        name: name.to_owned(),
        provider: entry.provider,
        message_type: entry.message_type.clone(),
        livemode,
        tolerance,
        secrets,
    })
}
