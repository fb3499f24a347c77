//! The seal: HMAC-SHA256 over the ordered fields of a message and the hash of its body.
//!
//! Input of the MAC, in this order:
//! 1. the domain text `millrace-seal-v1`, then the deployment's name, then each of [`SEALED_FIELDS`],
//! 2. last the 32 raw bytes of SHA-256(body).
//!
//! Each item is written as `0x00` when absent, else as `0x01`, its length in bytes as a 32-bit big-endian
//! number, and its bytes as transmitted. Lane and trace context stay outside, so that a relay or a flood
//! valve may change them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Field, WireMessage};

/// First item of every MAC; a new seal version gets a new text.
pub const SEAL_DOMAIN: &str = "millrace-seal-v1";

/// The sealed fields, in the order of the MAC.
pub const SEALED_FIELDS: [Field; 19] = [
    Field::KeyId,
    Field::MessageId,
    Field::Type,
    Field::SchemaVersion,
    Field::OrgId,
    Field::ActorKind,
    Field::ActorId,
    Field::Role,
    Field::TokenId,
    Field::TokenIat,
    Field::Source,
    Field::Scheme,
    Field::SecretId,
    Field::DedupeKey,
    Field::CorrelationId,
    Field::CausationId,
    Field::IssuedAt,
    Field::ExpectedVersion,
    Field::ContentType,
];

/// Room that the input of nearly every seal fits into.
const USUAL_INPUT: usize = 1_024;

/// One secret shared by a publisher and those who open its messages. At least 32 random bytes.
#[derive(Clone)]
pub struct SealKey(Hmac<Sha256>);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey([REDACTED])")
    }
}

impl SealKey {
    /// Fewest bytes a key may have.
    pub const SHORTEST: usize = 32;

    /// Takes the raw bytes; `None` when there are fewer than [`Self::SHORTEST`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        keyed(bytes).map(Self)
    }

    pub(super) fn seal(&self, deployment: &str, wire: &WireMessage) -> String {
        hex::encode(self.mac(deployment, wire).finalize().into_bytes())
    }

    /// Constant-time check of a hex seal against the message.
    pub(super) fn verify(&self, deployment: &str, wire: &WireMessage, seal: &str) -> bool {
        hex::decode(seal).is_ok_and(|tag| self.mac(deployment, wire).verify_slice(&tag).is_ok())
    }

    /// A MAC under this key that has no input yet, for uses beside the seal. Each begins with a domain of its own.
    pub(super) fn mac_state(&self) -> Hmac<Sha256> {
        self.0.clone()
    }

    fn mac(&self, deployment: &str, wire: &WireMessage) -> Hmac<Sha256> {
        // One long input costs the hash half of what sixty short ones cost.
        let mut input = Vec::with_capacity(USUAL_INPUT);
        item(&mut input, Some(SEAL_DOMAIN.as_bytes()));
        item(&mut input, Some(deployment.as_bytes()));
        for field in SEALED_FIELDS {
            item(&mut input, wire.get(field).map(str::as_bytes));
        }
        item(&mut input, Some(&Sha256::digest(&wire.body)));
        self.0.clone().chain_update(input)
    }
}

/// A MAC that waits for its input; `None` for a key of fewer than [`SealKey::SHORTEST`] bytes.
pub(super) fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok().filter(|_| key.len() >= SealKey::SHORTEST)
}

/// Adds one item to an input, in the encoding of the module's documentation.
pub(super) fn item(input: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => input.push(0),
        Some(bytes) => {
            input.push(1);
            input.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            input.extend_from_slice(bytes);
        }
    }
}
