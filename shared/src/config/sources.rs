//! `[sources.<name>]`: webhook endpoints, each with its own secrets.

use std::time::Duration;

use secrecy::SecretString;

use super::signatures::SignatureConfig;
use super::{Process, Reader};
use crate::contract::{Callers, CheckedContract, MessageType, Provider, SourceEntry};

/// One of a source's secrets. Several are active during a rotation.
#[derive(Debug, Clone)]
pub struct SourceSecret {
    /// Name in metrics and envelopes, so that operators see when an old secret has gone quiet.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
}

/// How deliveries are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// By code of Millrace's own.
    Builtin(Provider),
    /// By what the configuration says.
    Configured(SignatureConfig),
}

/// One webhook endpoint, served at `/api/webhooks/<name>`.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Name in the path, in envelopes and in dedupe keys.
    pub name: String,
    /// How it signs.
    pub scheme: Scheme,
    /// What its events become.
    pub message_type: MessageType,
    /// Expected mode; `None` accepts both, for Connect endpoints, which receive test events in live mode too.
    pub livemode: Option<bool>,
    /// How far a signature's time may lie from now, on both sides.
    pub tolerance: Duration,
    /// The active secrets.
    pub secrets: Vec<SourceSecret>,
}

/// Value of `provider` for a source that is configuration alone.
const CONFIGURED: &str = "configured";

pub(super) fn read(s: &mut Reader, process: Process, contract: &CheckedContract) -> Vec<SourceConfig> {
    let names = s.names();
    names.iter().filter_map(|name| s.section(name, |s| source(s, name, process, contract))).collect()
}

fn source(s: &mut Reader, name: &str, process: Process, contract: &CheckedContract) -> Option<SourceConfig> {
    let provider = s.text("provider", None);
    let (scheme, message_type, livemode) = match provider.as_str() {
        CONFIGURED => (Some(Scheme::Configured(SignatureConfig::read(s))), event_type(s, process, contract), None),
        _ => {
            let entry = builtin(s, &provider, contract);
            let livemode =
                s.word("livemode", Some(false), &[("true", Some(true)), ("false", Some(false)), ("any", None)]);
            let message_type = entry.map(|entry| entry.message_type.clone());
            (entry.map(|entry| Scheme::Builtin(entry.provider)), message_type, livemode)
        }
    };
    let tolerance = Duration::from_secs(s.number("tolerance_s", 300, 1..=3_600));
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) {
        s.mistake("", "a source's name must be of [a-z0-9_-]: it stands in a path");
    }
    let secrets = secrets(s, scheme.as_ref(), process.is(Process::Ingress));
    let (scheme, message_type) = (scheme?, message_type?);
    Some(SourceConfig { name: name.to_owned(), scheme, message_type, livemode, tolerance, secrets })
}

fn builtin<'c>(s: &mut Reader, provider: &str, contract: &'c CheckedContract) -> Option<&'c SourceEntry> {
    let entry = Provider::parse(provider)
        .and_then(|provider| contract.sources().iter().find(|entry| entry.provider == provider));
    if entry.is_none() && !provider.is_empty() {
        let known: Vec<&str> = contract.sources().iter().map(|entry| entry.provider.as_str()).collect();
        let known = known.join(", ");
        s.mistake("provider", format!("is no provider of this deployment's contract: {known}, or \"{CONFIGURED}\""));
    }
    entry
}

/// What the events of a configured source become: a payload that webhooks may send. Only the ingress has to know it: the
/// workers of Millrace itself read the same file as those of an adopter.
fn event_type(s: &mut Reader, process: Process, contract: &CheckedContract) -> Option<MessageType> {
    let name = s.text("type", None);
    let known = || contract.payloads().filter(|entry| entry.callers == Callers::Webhooks);
    let entry = known().find(|entry| entry.name.as_str() == name);
    if entry.is_none() && !name.is_empty() && process.is(Process::Ingress) {
        let known: Vec<&str> = known().map(|entry| entry.name.as_str()).collect();
        s.mistake("type", format!("is no webhook payload of this deployment's contract: {}", known.join(", ")));
    }
    entry.map(|entry| entry.name.clone())
}

fn secrets(s: &mut Reader, scheme: Option<&Scheme>, needed: bool) -> Vec<SourceSecret> {
    let fits = |secret: &SecretString| match scheme {
        Some(Scheme::Configured(signature)) => signature.key.key(secret).is_some(),
        Some(Scheme::Builtin(_)) | None => true,
    };
    let secrets = s.section("secrets", |s| {
        let mut secrets = Vec::new();
        for id in s.names() {
            let Some(secret) = s.section(&id, |s| s.secret("secret", needed)) else { continue };
            if !fits(&secret) {
                s.mistake(&id, "does not have the form that key_prefix and key_encoding say");
            }
            secrets.push(SourceSecret { id, secret });
        }
        secrets
    });
    if needed && secrets.is_empty() {
        s.mistake("secrets", "a source without a secret would accept anything: add [sources.NAME.secrets.ID]");
    }
    secrets
}
