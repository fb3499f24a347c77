//! Stripe's signature: header `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>][,v0=<hex>]`, where `v1` is
//! HMAC-SHA256 over `t`, a full stop and the raw body (<https://docs.stripe.com/webhooks/signature>).

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit};
use hyper::HeaderMap;
use millrace::contract::payloads::StripeEvent;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::signature::{SignatureFault, check_time, decimal, matching, the_one};
use super::{Proof, Source, WebhookFault};

/// The scheme's name in envelopes.
pub(super) const SCHEME: &str = "stripe-v1";

const HEADER: &str = "stripe-signature";

/// The whole `whsec_…` text is the key. Nothing is cut off or decoded, unlike in Standard Webhooks.
pub(super) fn key(secret: &SecretString) -> Result<Hmac<Sha256>, InvalidLength> {
    Hmac::new_from_slice(secret.expose_secret().as_bytes())
}

/// Signature first, then what the body says.
pub(super) fn verify(source: &Source, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Proof, WebhookFault> {
    let signature = Signature::parse(the_one(headers, HEADER)?)?;
    check_time(signature.seconds, now, source.tolerance)?;
    let candidates: Vec<[u8; 32]> = signature.candidates().collect();
    let secret = matching(&source.secrets, &[signature.time, b".", body], &candidates)?;
    let (head, change) = StripeEvent::read(body)?;
    if source.livemode.zip(head.livemode).is_some_and(|(expected, found)| expected != found) {
        return Err(WebhookFault::Livemode);
    }
    let customer = || change.ok().flatten().map(|change| change.owner().to_owned());
    Ok(Proof { secret, event_id: head.id, sender: head.account.or_else(customer) })
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
