//! The sealed tenant context: a setting that injected SQL can overwrite but not forge.

use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

use crate::contract::TenantId;

/// Block size of SHA-256, to which HMAC pads its key (RFC 2104).
const BLOCK: usize = 64;

/// Key of the tenant context, as the pads of its HMAC. Workers hold them in memory, PostgreSQL in `priv.k`; both compute
/// the tag with nothing but SHA-256, PostgreSQL because it has no HMAC of its own.
#[derive(Clone)]
pub struct ContextKey {
    inner: SecretSlice<u8>,
    outer: SecretSlice<u8>,
}

impl std::fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextKey([REDACTED])")
    }
}

impl ContextKey {
    /// Takes the raw bytes.
    pub fn new(key: &SecretSlice<u8>) -> Self {
        let key = key.expose_secret();
        let mut block = [0; BLOCK];
        if key.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>().into();
        Self { inner: pad(0x36), outer: pad(0x5c) }
    }

    /// The setting that puts this tenant in scope: tag first, since an id may hold dots.
    pub(super) fn seal(&self, tenant: &TenantId) -> String {
        let (inner, outer) = self.pads();
        let hash = Sha256::new().chain_update(inner).chain_update(tenant.as_str()).finalize();
        let tag = Sha256::new().chain_update(outer).chain_update(hash).finalize();
        format!("{}.{tenant}", hex::encode(tag))
    }

    /// Inner and outer pad, equivalent to the key itself.
    pub fn pads(&self) -> (&[u8], &[u8]) {
        (self.inner.expose_secret(), self.outer.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Pads and two hashes are HMAC-SHA256, for keys shorter and longer than a block.
        #[test]
        fn the_tag_is_an_hmac(key in proptest::collection::vec(any::<u8>(), 32..100)) {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(b"o-1.eu");
            let expected = format!("{}.o-1.eu", hex::encode(mac.finalize().into_bytes()));
            let tenant = TenantId::parse("o-1.eu").unwrap();
            prop_assert_eq!(ContextKey::new(&key.into()).seal(&tenant), expected);
        }
    }
}
