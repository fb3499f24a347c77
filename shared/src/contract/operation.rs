//! Operation ids: what a caller gets for an accepted command, and asks again with.

use hmac::Mac;
use subtle::ConstantTimeEq;

use super::seal::item;
use super::{MessageId, SealKey, TenantId};

const TAG_DOMAIN: &str = "millrace-operation-v1";
/// Bytes of a tag: too many to guess over HTTP.
const TAG_BYTES: usize = 12;
const PREFIX: &str = "op_";

/// The message id of a command with a tag that only the ingress can make. A well-tagged id without a row is pending,
/// without any state at the edge; everything else is not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationId {
    message_id: MessageId,
    tag: String,
}

impl OperationId {
    /// Tags the id of a command that was accepted for a tenant.
    pub fn new(key: &SealKey, deployment: &str, org: &TenantId, message_id: &MessageId) -> Self {
        Self { message_id: message_id.clone(), tag: hex::encode(tag(key, deployment, org, message_id)) }
    }

    /// Reads `op_<message id>_<tag>`; nothing about it is proven yet.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, tag) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        Some(Self { message_id: MessageId::parse(id).ok()?, tag: tag.to_owned() })
    }

    /// True when one of these keys made the tag for this tenant; compared in constant time.
    pub fn was_made_with<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k SealKey>,
        deployment: &str,
        org: &TenantId,
    ) -> bool {
        let Ok(given) = hex::decode(&self.tag) else { return false };
        keys.into_iter().any(|key| bool::from(tag(key, deployment, org, &self.message_id)[..].ct_eq(&given)))
    }

    /// The command's message.
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }
}

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}_{}", self.message_id, self.tag)
    }
}

fn tag(key: &SealKey, deployment: &str, org: &TenantId, message_id: &MessageId) -> [u8; TAG_BYTES] {
    let mut input = Vec::new();
    for text in [TAG_DOMAIN, deployment, org.as_str(), message_id.as_str()] {
        item(&mut input, Some(text.as_bytes()));
    }
    let mut bytes = [0; TAG_BYTES];
    bytes.copy_from_slice(&key.mac_state().chain_update(input).finalize().into_bytes()[..TAG_BYTES]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn an_id_is_known_again_only_by_its_key_deployment_and_tenant() {
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let message = MessageId::derived("demo", "x");
        let id = OperationId::new(&key(1), "demo", &acme, &message);
        let read = OperationId::parse(&id.to_string()).unwrap();
        assert_eq!(read, id);
        assert!(read.was_made_with([&key(2), &key(1)], "demo", &acme));
        assert!(!read.was_made_with([&key(1)], "demo", &globex));
        assert!(!read.was_made_with([&key(1)], "other", &acme));
        assert!(!read.was_made_with([&key(2)], "demo", &acme));
        let other = MessageId::derived("demo", "y");
        let forged = OperationId { message_id: other, tag: id.tag.clone() };
        assert!(!forged.was_made_with([&key(1)], "demo", &acme));
    }

    #[test]
    fn anything_else_is_no_id() {
        for text in ["", "op_", "op__", "op_x", "x_y_z", "op_a b_00"] {
            assert!(OperationId::parse(text).is_none(), "{text}");
        }
        let short = OperationId::parse("op_a_00").unwrap();
        assert!(!short.was_made_with([&key(1)], "demo", &TenantId::parse("acme").unwrap()));
    }
}
