//! Names that cross process borders, each checked once where it enters.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Why a text is not the id it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be 1 to {longest} characters of {alphabet}")]
pub struct IdFault {
    kind: &'static str,
    longest: usize,
    alphabet: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $longest:literal, $alphabet:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks length and alphabet.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                let allowed: fn(u8) -> bool = $allowed;
                if (1..=$longest).contains(&text.len()) && text.bytes().all(allowed) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdFault { kind: $kind, longest: $longest, alphabet: $alphabet })
                }
            }

            /// The text as it stands on the wire and in SQL.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdFault;

            fn from_str(text: &str) -> Result<Self, IdFault> {
                Self::parse(text)
            }
        }
    };
}

text_id! {
    /// The key of a tenant, in the words of its identity provider (`org_abc`); `org_id` on the wire and in SQL.
    TenantId, "a tenant id", 64, "[A-Za-z0-9_.:@-]",
    |b| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b)
}

text_id! {
    /// The holder of one or more seal keys: `ingress`, `worker`, or an internal service.
    PublisherName, "a publisher name", 64, "[a-z0-9_-]",
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)
}

text_id! {
    /// The public name of one seal key. A publisher has several while it rotates.
    KeyId, "a key id", 64, "[a-z0-9_.-]",
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b)
}

text_id! {
    /// A worker binary's kind, such as `billing`; part of its queues' names.
    WorkerName, "a worker name", 32, "[a-z0-9_]",
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
}

text_id! {
    /// The stable wire name of a payload: `projects.create`, `stripe.event`. Never derived from a Rust type.
    MessageType, "a message type", 64, "[a-z0-9_.]",
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b)
}

text_id! {
    /// Ours, not the client's key and not the provider's event id. Equal for every copy of one message.
    MessageId, "a message id", 64, "[A-Za-z0-9_.:-]",
    |b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b)
}

impl TenantId {
    /// Name of the tenant under which the deployment records what belongs to no tenant.
    pub const OPERATOR: &str = "millrace:operator";

    /// The reserved tenant of the deployment itself: unsealed, forged, unresolved and ignored messages are
    /// recorded under it. No customer can be created with this name.
    pub fn operator() -> Self {
        Self(Self::OPERATOR.to_owned())
    }

    /// True for the reserved tenant of the deployment itself.
    pub fn is_operator(&self) -> bool {
        self.0 == Self::OPERATOR
    }
}

impl MessageType {
    /// The type of the messages on the audit queue.
    pub fn audit_event() -> Self {
        Self("audit.event".to_owned())
    }
}

/// First item of every hash that makes a message id from a dedupe key.
const WEBHOOK_DOMAIN: &str = "millrace-webhook-message-v1";
/// First item of every hash that makes a message id from an idempotency key.
const COMMAND_DOMAIN: &str = "millrace-command-message-v1";
/// First item of every hash that makes the id of an event.
const EVENT_DOMAIN: &str = "millrace-event-message-v1";

/// What makes two commands with one idempotency key the same command.
#[derive(Debug, Clone, Copy)]
pub struct CommandIdentity<'a> {
    /// The tenant.
    pub org: &'a TenantId,
    /// Kind and id of the principal, as [`super::Principal::actor_id`] writes them.
    pub actor: &'a str,
    /// The command's wire name.
    pub command: &'a MessageType,
    /// The caller's idempotency key.
    pub key: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl MessageId {
    /// The only message id that a dedupe key may have, so that inbox, parked rows, dead letters and audit lines agree on
    /// which message it is: UUIDv8 (RFC 9562) of the first 16 bytes of SHA-256 over domain, deployment and dedupe key,
    /// each after its length in bytes as a 32-bit big-endian number.
    pub fn derived(deployment: &str, dedupe_key: &str) -> Self {
        Self::hashed(&[WEBHOOK_DOMAIN.as_bytes(), deployment.as_bytes(), dedupe_key.as_bytes()])
    }

    /// The only message id that a command with an idempotency key may have: UUIDv8 as above over domain, deployment,
    /// tenant, actor, command, key and the 32 bytes of SHA-256(body). The same key with another body is another message,
    /// which the worker then rejects.
    pub fn of_command(deployment: &str, identity: &CommandIdentity<'_>) -> Self {
        Self::hashed(&[
            COMMAND_DOMAIN.as_bytes(),
            deployment.as_bytes(),
            identity.org.as_str().as_bytes(),
            identity.actor.as_bytes(),
            identity.command.as_str().as_bytes(),
            identity.key.as_bytes(),
            &Sha256::digest(identity.body),
        ])
    }

    /// The id of the event of type `event` that the message `cause` of `publisher` led to: equal however often its
    /// settlement is decided again.
    pub fn of_event(deployment: &str, publisher: &PublisherName, cause: &MessageId, event: &MessageType) -> Self {
        let texts = [EVENT_DOMAIN, deployment, publisher.as_str(), cause.as_str(), event.as_str()];
        Self::hashed(&texts.map(str::as_bytes))
    }

    fn hashed(items: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for item in items {
            hash.update(u32::try_from(item.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(item);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self::from(Uuid::new_v8(bytes))
    }
}

impl From<Uuid> for MessageId {
    fn from(id: Uuid) -> Self {
        Self(id.hyphenated().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tenant_ids_of_real_identity_providers_pass() {
        for id in ["org_2abCDefGh", "acme.example", "o-1:eu", "team@acme", "0"] {
            assert_eq!(TenantId::parse(id).unwrap().as_str(), id);
        }
        assert!(TenantId::operator().is_operator());
    }

    #[test]
    fn what_could_confuse_sql_headers_or_logs_does_not_pass() {
        let long = "a".repeat(65);
        for id in ["", " ", "a b", "a/b", "é", "a\0", "a\n", "'", &long] {
            assert!(TenantId::parse(id).is_err(), "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,80}") {
            if let Ok(id) = TenantId::parse(&text) {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
