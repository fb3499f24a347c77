//! The sealed tenant context: a setting that injected SQL can overwrite but not forge.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

use crate::contract::TenantId;

/// Block size of SHA-256, to which HMAC pads its key (RFC 2104).
const BLOCK: usize = 64;

/// Key of the tenant context. Workers hold it in memory; PostgreSQL holds its pads in `priv.k`.
#[derive(Clone)]
pub struct ContextKey(SecretSlice<u8>);

impl std::fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextKey([REDACTED])")
    }
}

impl ContextKey {
    /// Takes the raw bytes.
    pub fn new(key: SecretSlice<u8>) -> Self {
        Self(key)
    }

    /// The setting that puts this tenant in scope: tag first, since an id may hold dots.
    #[expect(clippy::expect_used, reason = "HMAC accepts keys of every length")]
    pub(super) fn seal(&self, tenant: &TenantId) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC accepts every key");
        mac.update(tenant.as_str().as_bytes());
        format!("{}.{tenant}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Inner and outer pad, from which PostgreSQL recomputes the tag with its built-in `sha256`.
    pub fn pads(&self) -> (Vec<u8>, Vec<u8>) {
        let key = self.0.expose_secret();
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        (block.iter().map(|b| b ^ 0x36).collect(), block.iter().map(|b| b ^ 0x5c).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What PostgreSQL computes from the pads is the tag that the worker computes from the key.
        #[test]
        fn pads_and_key_agree(key in proptest::collection::vec(any::<u8>(), 32..100)) {
            let key = ContextKey::new(key.into());
            let tenant = TenantId::parse("o-1.eu").unwrap();
            let (ipad, opad) = key.pads();
            let inner = Sha256::digest([ipad.as_slice(), tenant.as_str().as_bytes()].concat());
            let tag = Sha256::digest([opad.as_slice(), &inner].concat());
            prop_assert_eq!(key.seal(&tenant), format!("{}.o-1.eu", hex::encode(tag)));
        }
    }
}
