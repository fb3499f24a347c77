//! Signatures that are configuration: HMAC-SHA256 over the parts that `[sources.<name>]` lists.

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit};
use hyper::HeaderMap;
use millrace::config::{Dedupe, Encoding, Grammar, SignatureConfig, SignedPart, TimeFormat, Value};
use millrace::contract::{Malformed, Tenancy, Timestamp, is_clean};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::signature::{SignatureFault, check_time, decimal, matching, the_one};
use super::{LONGEST_EVENT_ID, Proof, Source, WebhookFault};

/// The scheme's name in envelopes.
pub(super) const SCHEME: &str = "configured-v1";

/// The key in a secret. Reading the configuration has made sure that there is one.
pub(super) fn key(config: &SignatureConfig, secret: &SecretString) -> Result<Hmac<Sha256>, InvalidLength> {
    let key = config.key.key(secret).ok_or(InvalidLength)?;
    Hmac::new_from_slice(key.expose_secret())
}

/// Signature first, then which event it is.
pub(super) fn verify(
    source: &Source,
    config: &SignatureConfig,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Proof, WebhookFault> {
    let header = the_one(headers, &config.header)?;
    if let Some((place, format)) = &config.timestamp {
        let time = seconds(*format, value(place, config, headers, header)?).ok_or(SignatureFault::NoTime)?;
        check_time(time, now, source.tolerance)?;
    }
    let mut parts = Vec::with_capacity(config.signed.len());
    for part in &config.signed {
        parts.push(match part {
            SignedPart::Body => body,
            SignedPart::Text(text) => text.as_bytes(),
            SignedPart::Value(place) => value(place, config, headers, header)?,
        });
    }
    let secret = matching(&source.secrets, &parts, &candidates(config, header))?;
    let event_id = event_id(config, headers, body)?;
    // A body that its payload does not know is taken all the same: a worker says what becomes of it.
    let sender = match (source.tenancy)(body) {
        Ok(Tenancy::Link(link)) => Some(link.sender()),
        Ok(Tenancy::Envelope | Tenancy::Unhandled) | Err(_) => None,
    };
    Ok(Proof { secret, event_id, sender })
}

fn seconds(format: TimeFormat, text: &[u8]) -> Option<i64> {
    match format {
        TimeFormat::Unix => decimal(text).filter(|_| !text.is_empty()),
        TimeFormat::Rfc3339 => Timestamp::parse(str::from_utf8(text).ok()?).map(Timestamp::unix),
    }
}

/// A signed value as transmitted. One that is there twice could mean one thing to the sender and another to us.
fn value<'h>(
    place: &Value,
    config: &SignatureConfig,
    headers: &'h HeaderMap,
    header: &'h [u8],
) -> Result<&'h [u8], SignatureFault> {
    match place {
        Value::Header(name) => the_one(headers, name).map_err(|_| SignatureFault::PartMissing),
        Value::Pair(key) => {
            let mut found = pairs(config, header, key);
            match (found.next(), found.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(SignatureFault::PartMissing),
            }
        }
    }
}

/// Every signature in the header that has the right form; one that has another is skipped, for another may fit.
fn candidates(config: &SignatureConfig, header: &[u8]) -> Vec<[u8; 32]> {
    let texts: Vec<&[u8]> = match &config.grammar {
        Grammar::Bare { prefix } => header.trim_ascii().strip_prefix(prefix.as_bytes()).into_iter().collect(),
        Grammar::Pairs { key, .. } => pairs(config, header, key).collect(),
        Grammar::Versions { version } => header
            .split(|byte| *byte == b' ')
            .filter_map(|item| item.strip_prefix(version.as_bytes())?.strip_prefix(b","))
            .collect(),
    };
    texts.into_iter().filter_map(|text| bytes(config.encoding, text)).collect()
}

fn bytes(encoding: Encoding, text: &[u8]) -> Option<[u8; 32]> {
    encoding.decode(text)?.try_into().ok()
}

/// The values of one key in `key=value,key=value`.
fn pairs<'h>(config: &SignatureConfig, header: &'h [u8], key: &str) -> impl Iterator<Item = &'h [u8]> {
    let separator = match &config.grammar {
        Grammar::Pairs { separator, .. } => *separator,
        Grammar::Bare { .. } | Grammar::Versions { .. } => ',',
    };
    let key = format!("{key}=").into_bytes();
    header
        .split(move |byte| char::from(*byte) == separator)
        .filter_map(move |item| item.trim_ascii().strip_prefix(&key[..]))
}

/// The event's id within its source, from what is signed.
fn event_id(config: &SignatureConfig, headers: &HeaderMap, body: &[u8]) -> Result<String, WebhookFault> {
    let id = match &config.dedupe {
        Dedupe::BodyHash => return Ok(hex::encode(Sha256::digest(body))),
        Dedupe::Header(name) => {
            let value = the_one(headers, name).map_err(|_| SignatureFault::PartMissing)?;
            str::from_utf8(value).ok().map(str::to_owned)
        }
        Dedupe::Body(path) => at(body, path),
    };
    let id = id.filter(|id| is_clean(id, 1..=LONGEST_EVENT_ID));
    Ok(id.ok_or_else(|| Malformed::new("dedupe", "is no text or whole number of a sane length"))?)
}

/// A text or whole number in a JSON body.
fn at(body: &[u8], path: &[String]) -> Option<String> {
    let whole: serde_json::Value = serde_json::from_slice(body).ok()?;
    let found = path.iter().try_fold(&whole, |value, name| value.get(name))?;
    match found {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
