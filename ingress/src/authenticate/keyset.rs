//! The keys that an issuer publishes (RFC 7517), less those that must not verify a token.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use millrace::config::PublicAlgorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::token::not_null;

/// Most keys of one issuer; more are no honest set.
const MOST_KEYS: usize = 64;
/// Bounds of an RSA modulus in bits. Shorter is weak; longer makes each verification a burden.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Most bytes of an RSA exponent.
const LONGEST_EXPONENT: usize = 4;
/// Bytes of a coordinate on P-256, and of an Ed25519 key.
const COORDINATE: usize = 32;
/// First byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// Why a document is no set of keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetFault {
    #[error("the document is no JSON Web Key Set")]
    NoSet(#[from] serde_json::Error),
    #[error("the set has {0} keys; {MOST_KEYS} are the most")]
    TooMany(usize),
    #[error("none of the {0} keys fits the configured algorithms")]
    NoneFits(usize),
}

/// The keys of one issuer that may verify, apart by algorithm.
#[derive(Debug)]
pub(super) struct KeySet {
    rings: HashMap<PublicAlgorithm, Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    named: HashMap<String, Arc<DecodingKey>>,
    all: Vec<Arc<DecodingKey>>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    /// Reads a document. A key that must not be used is left out, and does not spoil the others.
    pub(super) fn parse(document: &[u8], algorithms: &[PublicAlgorithm]) -> Result<Self, KeySetFault> {
        let document: Document = serde_json::from_slice(document)?;
        let published = document.keys.len();
        if published > MOST_KEYS {
            return Err(KeySetFault::TooMany(published));
        }
        let mut rings: HashMap<PublicAlgorithm, Ring> = HashMap::new();
        let mut ambiguous = HashSet::new();
        let entries = document.keys.iter().filter_map(|raw| serde_json::from_str::<Entry>(raw.get()).ok());
        for (entry, algorithm, key) in entries.filter_map(Entry::usable) {
            if !algorithms.contains(&algorithm) {
                continue;
            }
            let (ring, key) = (rings.entry(algorithm).or_default(), Arc::new(key));
            ring.all.push(key.clone());
            if let Some(id) = entry.kid
                && ring.named.insert(id.clone(), key).is_some()
            {
                ambiguous.insert((algorithm, id));
            }
        }
        if rings.is_empty() {
            return Err(KeySetFault::NoneFits(published));
        }
        for (algorithm, id) in ambiguous {
            rings.entry(algorithm).or_default().named.remove(&id);
        }
        Ok(Self { rings })
    }

    /// The key of exactly this id. A token without one has a key only where there is no choice.
    pub(super) fn find(&self, id: Option<&str>, algorithm: PublicAlgorithm) -> Option<Arc<DecodingKey>> {
        let ring = self.rings.get(&algorithm)?;
        match (id, ring.all.as_slice()) {
            (Some(id), _) => ring.named.get(id).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}

/// One key as published. What it is for stands in `use`, `key_ops` and `alg`, which the library for signatures ignores.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    #[serde(default, rename = "use", deserialize_with = "not_null")]
    purpose: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private half, which makes a published key everybody's.
    #[serde(default, deserialize_with = "not_null")]
    d: Option<IgnoredAny>,
}

impl Entry {
    /// The one algorithm it verifies, unless it must not be used. `oct` is no kind of key here at all.
    fn usable(self) -> Option<(Self, PublicAlgorithm, DecodingKey)> {
        let signs = self.purpose.as_ref().is_none_or(|purpose| purpose == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies || self.d.is_some() {
            return None;
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => (PublicAlgorithm::Rs256, self.rsa()?),
            ("EC", Some("P-256")) => (PublicAlgorithm::Es256, self.point()?),
            ("OKP", Some("Ed25519")) => (PublicAlgorithm::EdDsa, DecodingKey::from_ed_der(&coordinate(&self.x)?)),
            _ => return None,
        };
        let fits = self.alg.as_ref().is_none_or(|name| name == algorithm.as_str());
        fits.then_some((self, algorithm, key))
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (modulus, exponent) = (number(&self.n)?, number(&self.e)?);
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        // An even exponent is none, and with 1 every text signs itself.
        let odd = exponent.last()? % 2 == 1 && exponent != [1] && exponent.len() <= LONGEST_EXPONENT;
        (MODULUS_BITS.contains(&bits) && odd).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }

    fn point(&self) -> Option<DecodingKey> {
        let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
        Some(DecodingKey::from_ec_der(&[&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat()))
    }
}

/// A positive number, big-endian, without leading zeros.
fn number(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

fn coordinate(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok().filter(|bytes| bytes.len() == COORDINATE)
}
