//! Stripe's signature: header `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>][,v0=<hex>]`, where `v1` is
//! HMAC-SHA256 over `t`, a full stop and the raw body (<https://docs.stripe.com/webhooks/signature>).

use std::time::Duration;

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use millrace::contract::payloads::StripeHead;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::{Proof, Secret, Source, WebhookFault};

/// The scheme's name in envelopes.
pub(super) const SCHEME: &str = "stripe-v1";

const HEADER: &str = "stripe-signature";

/// Which check a signature failed. Counted, never told to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// No header.
    #[error("there is no Stripe-Signature header")]
    Missing,
    /// More than one header. Joining them could pair one's time with another's signature.
    #[error("there is more than one Stripe-Signature header")]
    Repeated,
    /// No `t` of decimal digits.
    #[error("the header has no time")]
    NoTime,
    /// More than one `t`.
    #[error("the header has more than one time")]
    TimeRepeated,
    /// Signed longer ago than the tolerance: perhaps a replay.
    #[error("the signature is too old")]
    Stale,
    /// Signed further ahead than the tolerance, so that it could be replayed for as long.
    #[error("the signature is from the future")]
    Future,
    /// No `v1` of 32 bytes in hex.
    #[error("the header has no v1 signature")]
    NoCandidate,
    /// No `v1` fits any secret.
    #[error("no signature fits any secret")]
    Mismatch,
}

impl SignatureFault {
    /// Label of [`millrace::telemetry::fields::EDGE_REFUSED`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Repeated => "signature_repeated",
            Self::NoTime => "signature_no_time",
            Self::TimeRepeated => "signature_time_repeated",
            Self::Stale => "signature_stale",
            Self::Future => "signature_future",
            Self::NoCandidate => "signature_no_v1",
            Self::Mismatch => "signature_mismatch",
        }
    }
}

/// The whole `whsec_…` text is the key. Nothing is cut off or decoded, unlike in Standard Webhooks.
pub(super) fn key(secret: &SecretString) -> Result<Hmac<Sha256>, InvalidLength> {
    Hmac::new_from_slice(secret.expose_secret().as_bytes())
}

/// Signature first, then what the body says.
pub(super) fn verify(source: &Source, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Proof, WebhookFault> {
    let signature = Signature::parse(the_one(headers)?)?;
    signature.check_time(now, source.tolerance)?;
    let secret = signature.matching(&source.secrets, body)?;
    let head = StripeHead::read(body)?;
    match (source.livemode, head.livemode) {
        (Some(expected), Some(found)) if expected != found => Err(WebhookFault::Livemode),
        _ => Ok(Proof { secret, event_id: head.id }),
    }
}

fn the_one(headers: &HeaderMap) -> Result<&[u8], SignatureFault> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(SignatureFault::Missing)?;
    if values.next().is_some() { Err(SignatureFault::Repeated) } else { Ok(value.as_bytes()) }
}

/// A header with a time. Its signatures are read where they are compared.
struct Signature<'a> {
    header: &'a [u8],
    /// `t` as transmitted, which is what was signed.
    time: &'a [u8],
    seconds: i64,
}

impl<'a> Signature<'a> {
    fn parse(header: &'a [u8]) -> Result<Self, SignatureFault> {
        let mut times = items(header, b"t");
        let time = times.next().ok_or(SignatureFault::NoTime)?;
        if times.next().is_some() {
            return Err(SignatureFault::TimeRepeated);
        }
        Ok(Self { header, time, seconds: decimal(time).ok_or(SignatureFault::NoTime)? })
    }

    /// The tolerance holds on both sides, although the official libraries bound only the past.
    fn check_time(&self, now: i64, tolerance: Duration) -> Result<(), SignatureFault> {
        if self.seconds.abs_diff(now) <= tolerance.as_secs() {
            Ok(())
        } else if self.seconds < now {
            Err(SignatureFault::Stale)
        } else {
            Err(SignatureFault::Future)
        }
    }

    /// Compares every secret with every candidate in constant time. Counts each secret that matches, since during a
    /// rotation both do; the first one is returned.
    fn matching(&self, secrets: &[Secret], body: &[u8]) -> Result<usize, SignatureFault> {
        if self.candidates().next().is_none() {
            return Err(SignatureFault::NoCandidate);
        }
        let mut first = Err(SignatureFault::Mismatch);
        for (index, secret) in secrets.iter().enumerate() {
            if bool::from(self.fits(&secret.key, body)) {
                secret.matched.increment(1);
                first = first.or(Ok(index));
            }
        }
        first
    }

    fn fits(&self, key: &Hmac<Sha256>, body: &[u8]) -> Choice {
        let mut mac = key.clone();
        mac.update(self.time);
        mac.update(b".");
        mac.update(body);
        let expected = mac.finalize().into_bytes();
        self.candidates().fold(Choice::from(0), |hit, candidate| hit | expected.ct_eq(&candidate))
    }

    /// The `v1` signatures; one that is not 32 bytes of hex is skipped, for another may fit.
    fn candidates(&self) -> impl Iterator<Item = [u8; 32]> {
        items(self.header, b"v1").filter_map(|text| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).is_ok().then_some(bytes)
        })
    }
}

/// The values of one key in `key=value,key=value`. Whatever has another form is no item. Blanks around an item do not
/// count, so that two headers which a proxy joined with `, ` show their two times.
fn items<'a>(header: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    header.split(|byte| *byte == b',').filter_map(move |item| item.trim_ascii().strip_prefix(key)?.strip_prefix(b"="))
}

/// Digits only: the standard parser would take a sign as well.
fn decimal(text: &[u8]) -> Option<i64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}
