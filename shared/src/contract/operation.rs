//! Operation ids: what a caller gets for an accepted command, and asks again with.

use hmac::Mac;
use subtle::ConstantTimeEq;

use super::seal::item;
use super::{MessageId, SealKey, TenantId, Timestamp};

const TAG_DOMAIN: &str = "millrace-operation-v2";
/// Of ids that do not say when they were given.
const UNDATED_DOMAIN: &str = "millrace-operation-v1";
/// Bytes of a tag: too many to guess over HTTP.
const TAG_BYTES: usize = 12;
const PREFIX: &str = "op_";
/// Hexadecimal digits of the day before the tag.
const DAY_DIGITS: usize = 8;
/// Days for which an outcome is told at least, and an id without one is pending.
const TOLD_DAYS: i64 = 35;
const SECONDS_OF_DAY: i64 = 24 * 3_600;

/// The message id of a command and the day on which it was given, with a tag that only the ingress can make. A well-tagged id
/// without a row is pending, without any state at the edge, for as long as outcomes are told; everything else is not found. The
/// same command has the same id all day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationId {
    message_id: MessageId,
    /// Since 1970; ids of an earlier build have none.
    day: Option<u32>,
    tag: String,
}

impl OperationId {
    /// Tags the id of a command that was accepted for a tenant.
    pub fn new(key: &SealKey, deployment: &str, org: &TenantId, message_id: &MessageId, given: Timestamp) -> Self {
        let day = u32::try_from(day_of(given)).ok();
        let tag = hex::encode(tag(key, deployment, org, message_id, day));
        Self { message_id: message_id.clone(), day, tag }
    }

    /// Reads `op_<message id>_<day and tag>`; nothing about it is proven yet.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let dated = rest.len() == DAY_DIGITS + 2 * TAG_BYTES;
        let (day, tag) = if dated { rest.split_at_checked(DAY_DIGITS)? } else { ("", rest) };
        let day = if dated { Some(u32::from_str_radix(day, 16).ok()?) } else { None };
        Some(Self { message_id: MessageId::parse(id).ok()?, day, tag: tag.to_owned() })
    }

    /// True when nothing need be told of it any more: an id without an outcome is not found then.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.day.is_some_and(|day| day_of(now) - i64::from(day) >= TOLD_DAYS)
    }

    /// True when one of these keys made the tag for this tenant; compared in constant time.
    pub fn was_made_with<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k SealKey>,
        deployment: &str,
        org: &TenantId,
    ) -> bool {
        let Ok(given) = hex::decode(&self.tag) else { return false };
        keys.into_iter().any(|key| bool::from(tag(key, deployment, org, &self.message_id, self.day)[..].ct_eq(&given)))
    }

    /// The command's message.
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }
}

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}_", self.message_id)?;
        if let Some(day) = self.day {
            write!(f, "{day:0DAY_DIGITS$x}")?;
        }
        f.write_str(&self.tag)
    }
}

fn day_of(moment: Timestamp) -> i64 {
    moment.moment().unix_timestamp() / SECONDS_OF_DAY
}

fn tag(key: &SealKey, deployment: &str, org: &TenantId, message_id: &MessageId, day: Option<u32>) -> [u8; TAG_BYTES] {
    let domain = if day.is_some() { TAG_DOMAIN } else { UNDATED_DOMAIN };
    let mut input = Vec::new();
    for text in [domain, deployment, org.as_str(), message_id.as_str()] {
        item(&mut input, Some(text.as_bytes()));
    }
    if let Some(day) = day {
        item(&mut input, Some(&day.to_be_bytes()));
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

    fn on(day: i64) -> Timestamp {
        Timestamp::from_unix(day * SECONDS_OF_DAY + 7).unwrap()
    }

    #[test]
    fn an_id_says_when_it_is_over_and_nobody_can_put_that_off() {
        let (acme, message) = (TenantId::parse("acme").unwrap(), MessageId::derived("demo", "x"));
        let id = OperationId::new(&key(1), "demo", &acme, &message, on(20_000));
        assert_eq!(id, OperationId::new(&key(1), "demo", &acme, &message, on(20_000)));
        assert!(!id.is_over(on(20_034)) && id.is_over(on(20_035)));
        let text = id.to_string();
        let later = text.replace(&format!("_{:08x}", 20_000), &format!("_{:08x}", 20_001));
        assert_ne!(later, text);
        assert!(!OperationId::parse(&later).unwrap().was_made_with([&key(1)], "demo", &acme));
        // As an earlier build gave it.
        let undated = OperationId { day: None, tag: hex::encode(tag(&key(1), "demo", &acme, &message, None)), ..id };
        let read = OperationId::parse(&undated.to_string()).unwrap();
        assert!(read.was_made_with([&key(1)], "demo", &acme) && !read.is_over(on(99_999)));
    }

    #[test]
    fn an_id_is_known_again_only_by_its_key_deployment_and_tenant() {
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let message = MessageId::derived("demo", "x");
        let id = OperationId::new(&key(1), "demo", &acme, &message, on(20_000));
        let read = OperationId::parse(&id.to_string()).unwrap();
        assert_eq!(read, id);
        assert!(read.was_made_with([&key(2), &key(1)], "demo", &acme));
        assert!(!read.was_made_with([&key(1)], "demo", &globex));
        assert!(!read.was_made_with([&key(1)], "other", &acme));
        assert!(!read.was_made_with([&key(2)], "demo", &acme));
        let other = MessageId::derived("demo", "y");
        let forged = OperationId { message_id: other, ..id.clone() };
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
