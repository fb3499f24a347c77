//! Webhooks: what arrives is [`Unverified`]; only a [`Verified`] one can become a message.
//!
//! A verified webhook has an envelope:
//! ```
//! use millrace_ingress::webhooks::{Verified, Webhook};
//!
//! fn queue(webhook: Webhook<Verified>) {
//!     let _ = webhook.into_envelope("millrace");
//! }
//! ```
//! An unverified one has none:
//! ```compile_fail,E0599
//! use millrace_ingress::webhooks::{Unverified, Webhook};
//!
//! fn queue(webhook: Webhook<Unverified>) {
//!     let _ = webhook.into_envelope("millrace");
//! }
//! ```

mod configured;
mod signature;
mod stripe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hmac::Hmac;
use hyper::HeaderMap;
use metrics::Counter;
use millrace::config::{Scheme, SourceConfig, SourceSecret};
use millrace::contract::{
    CheckedContract, Envelope, Lane, Malformed, MessageId, MessageType, Origin, Principal, Provider, Route, Signer,
    Tenancy, Timestamp, WireFault,
};
use millrace::telemetry::fields;
use sha2::Sha256;
use time::OffsetDateTime;

pub use signature::SignatureFault;

/// Longest event id, see [`millrace::contract::payloads::StripeHead`].
const LONGEST_EVENT_ID: usize = 200;

/// Why a webhook is refused.
#[derive(Debug, thiserror::Error)]
pub enum WebhookFault {
    /// It is not proven that the provider sent it, or not proven that it did so now.
    #[error("the signature is not valid")]
    Signature(#[from] SignatureFault),
    /// Authentic, but of the other mode than `sources.*.livemode` says.
    #[error("the event is of another mode than the source")]
    Livemode,
    /// Authentic, but no event.
    #[error("the body is no event")]
    Malformed(#[from] Malformed),
}

impl WebhookFault {
    /// Label of [`fields::EDGE_REFUSED`]; not for the sender.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Signature(fault) => fault.reason(),
            Self::Livemode => "livemode_mismatch",
            Self::Malformed(_) => "malformed_event",
        }
    }
}

/// Why a configured source cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// The contract has no queue for its events.
    #[error("no worker takes the events of [sources.{0}]")]
    Unrouted(String),
    /// A secret that HMAC does not take; it takes every length, so none is known.
    #[error("the secret {1} of [sources.{0}] is no key")]
    Key(String, String),
    /// Its name or a secret's id leaves no room for an event id in the envelope.
    #[error("the name of [sources.{0}] or of one of its secrets is too long")]
    TooLong(String, #[source] WireFault),
}

/// A configured source, ready to verify.
#[derive(Debug)]
pub struct Source {
    name: String,
    scheme: Scheme,
    message_type: MessageType,
    tenancy: fn(&[u8]) -> Result<Tenancy, Malformed>,
    main: Route,
    overflow: Route,
    livemode: Option<bool>,
    tolerance: Duration,
    secrets: Vec<Secret>,
}

impl Source {
    /// Prepares keys, counters and the route to the queue, and makes sure that every event will fit into a message
    /// that `signer` seals.
    ///
    /// # Errors
    /// [`SourceFault`].
    pub fn new(config: &SourceConfig, contract: &CheckedContract, signer: &Signer) -> Result<Self, SourceFault> {
        let entry = contract.payload(config.message_type.as_str());
        let entry = entry.ok_or_else(|| SourceFault::Unrouted(config.name.clone()))?;
        let route = |lane| Route::work(&entry.worker, signer.lane(lane));
        let source = Self {
            name: config.name.clone(),
            scheme: config.scheme.clone(),
            message_type: config.message_type.clone(),
            tenancy: entry.tenancy,
            main: route(Lane::Main),
            overflow: route(Lane::Overflow),
            livemode: config.livemode,
            tolerance: config.tolerance,
            secrets: config.secrets.iter().map(|secret| Secret::new(config, secret)).collect::<Result<_, _>>()?,
        };
        let longest = "x".repeat(LONGEST_EVENT_ID);
        for secret in 0..source.secrets.len() {
            let proof = Proof { secret, event_id: longest.clone(), sender: None };
            let envelope = source.envelope(&proof, Timestamp::new(OffsetDateTime::UNIX_EPOCH), signer.deployment());
            let sealed = signer.seal(&envelope, Lane::Main, Vec::new());
            sealed.map_err(|fault| SourceFault::TooLong(source.name.clone(), fault))?;
        }
        Ok(source)
    }

    /// Its name: in the path, in envelopes and in dedupe keys.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Proof, WebhookFault> {
        match &self.scheme {
            Scheme::Builtin(Provider::Stripe) => stripe::verify(self, headers, body, now),
            Scheme::Configured(signature) => configured::verify(self, signature, headers, body, now),
        }
    }

    fn scheme(&self) -> &'static str {
        match &self.scheme {
            Scheme::Builtin(Provider::Stripe) => stripe::SCHEME,
            Scheme::Configured(_) => configured::SCHEME,
        }
    }

    fn envelope(&self, proof: &Proof, received: Timestamp, deployment: &str) -> Envelope {
        let dedupe_key = format!("{}:{}", self.name, proof.event_id);
        Envelope {
            message_id: MessageId::derived(deployment, &dedupe_key),
            message_type: self.message_type.clone(),
            schema_version: 1,
            content_type: "application/json".to_owned(),
            org_id: None,
            principal: Principal::webhook(&self.name),
            token: None,
            origin: Some(Origin {
                source: self.name.clone(),
                scheme: self.scheme().to_owned(),
                secret_id: self.secrets.get(proof.secret).map(|secret| secret.id.clone()).unwrap_or_default(),
            }),
            dedupe_key: Some(dedupe_key),
            correlation_id: None,
            causation_id: None,
            issued_at: received,
            expected_version: None,
        }
    }
}

/// One active secret of a source, as the keyed state of its MAC.
struct Secret {
    id: String,
    key: Hmac<Sha256>,
    matched: Counter,
}

impl Secret {
    fn new(source: &SourceConfig, secret: &SourceSecret) -> Result<Self, SourceFault> {
        let labels = [("source", source.name.clone()), ("secret", secret.id.clone())];
        let key = match &source.scheme {
            Scheme::Builtin(Provider::Stripe) => stripe::key(&secret.secret),
            Scheme::Configured(signature) => configured::key(signature, &secret.secret),
        };
        let key = key.map_err(|_| SourceFault::Key(source.name.clone(), secret.id.clone()))?;
        Ok(Self { id: secret.id.clone(), key, matched: metrics::counter!(fields::WEBHOOK_VERIFIED, &labels) })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a verification found.
#[derive(Debug)]
struct Proof {
    /// Which of the source's secrets matched.
    secret: usize,
    /// The provider's id of the event, from signed content.
    event_id: String,
    /// The account or customer that the event is about, from signed content.
    sender: Option<String>,
}

/// Whose rate a webhook counts towards: its tenant is not known here, but what leads to it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender<'w> {
    /// The source.
    pub source: &'w str,
    /// The account or customer, where the event is about one.
    pub id: Option<&'w str>,
}

/// State of a webhook as it arrived: anybody may have sent it.
pub struct Unverified {
    headers: HeaderMap,
}

/// State of a webhook whose provider signed it within the tolerance.
pub struct Verified {
    proof: Proof,
    received: Timestamp,
}

/// A webhook's body with the source it claims to come from. `State` is [`Unverified`] or [`Verified`].
pub struct Webhook<State> {
    source: Arc<Source>,
    body: Vec<u8>,
    state: State,
}

impl<State> fmt::Debug for Webhook<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("source", &self.source.name).finish_non_exhaustive()
    }
}

impl Webhook<Unverified> {
    /// A request to the path of `source`, with the body's bytes exactly as they arrived.
    pub fn received(source: Arc<Source>, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { source, body, state: Unverified { headers } }
    }

    /// Checks the signature over the raw bytes, then the mode. `now` is the time of receipt.
    ///
    /// # Errors
    /// [`WebhookFault`]; nothing is published then.
    pub fn verify(self, now: OffsetDateTime) -> Result<Webhook<Verified>, WebhookFault> {
        let Self { source, body, state } = self;
        let proof = source.verify(&state.headers, &body, now.unix_timestamp())?;
        Ok(Webhook { source, body, state: Verified { proof, received: Timestamp::new(now) } })
    }
}

impl Webhook<Verified> {
    /// Whose rate it counts towards.
    pub fn sender(&self) -> Sender<'_> {
        Sender { source: &self.source.name, id: self.state.proof.sender.as_deref() }
    }

    /// Where its message goes.
    pub fn route(&self, lane: Lane) -> &Route {
        match lane {
            Lane::Main => &self.source.main,
            Lane::Overflow => &self.source.overflow,
        }
    }

    /// The metadata of its message in `deployment`, and the untouched body.
    pub fn into_envelope(self, deployment: &str) -> (Envelope, Vec<u8>) {
        let envelope = self.source.envelope(&self.state.proof, self.state.received, deployment);
        (envelope, self.body)
    }
}

#[cfg(test)]
pub(crate) mod tests;
