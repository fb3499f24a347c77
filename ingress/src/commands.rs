//! Commands: `POST /api/commands/{name}`, from a verified token to a sealed message.
//!
//! Everything that the head of a request decides is decided before its body is read: who asks, whether it may, its
//! idempotency key, its rate.

use std::collections::HashMap;

use hyper::header::{CONTENT_TYPE, HeaderName, IF_MATCH};
use hyper::{HeaderMap, StatusCode};
use millrace::contract::payloads::{EdgeRefused, EdgeRule};
use millrace::contract::{
    ActorKind, Callers, CheckedContract, CommandIdentity, Envelope, Lane, Malformed, MessageId, MessageType, Payload,
    PayloadEntry, Permission, RoleTable, Route, Signer, Timestamp,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::authenticate::Caller;
use crate::rates::TooFast;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest idempotency key.
const KEY_BYTES: usize = 128;
const JSON: &str = "application/json";

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandFault {
    #[error("the caller may not do this")]
    Forbidden(EdgeRule),
    #[error("the ingress's key is not granted this tenant, kind of principal or role: see [publishers]")]
    OutsideGrant,
    #[error("Idempotency-Key must be there once, as 1 to 128 visible ASCII characters")]
    IdempotencyKey,
    #[error("If-Match must be one version as \"3\", and of a command that compares it")]
    IfMatch,
    #[error("Content-Type must be application/json")]
    ContentType,
    #[error("{0}")]
    Invalid(Malformed),
    #[error(transparent)]
    TooFast(#[from] TooFast),
}

impl CommandFault {
    /// The stable code of the problem.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Forbidden(_) | Self::OutsideGrant => "forbidden",
            Self::IdempotencyKey => "invalid_idempotency_key",
            Self::IfMatch => "invalid_if_match",
            Self::ContentType => "unsupported_media_type",
            Self::Invalid(_) => "invalid_payload",
            Self::TooFast(_) => "rate_limited",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) | Self::OutsideGrant => StatusCode::FORBIDDEN,
            Self::IdempotencyKey | Self::IfMatch => StatusCode::BAD_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// True for everything that the head alone decides.
    pub(crate) fn precedes_body(&self) -> bool {
        !matches!(self, Self::Invalid(_) | Self::OutsideGrant)
    }
}

/// One command that this edge serves.
#[derive(Debug)]
pub(crate) struct Command {
    name: MessageType,
    permission: Permission,
    callers: Callers,
    schema_version: u32,
    versioned: bool,
    check: fn(&[u8]) -> Result<(), Malformed>,
    main: Route,
    overflow: Route,
}

/// What the head of a command says, once it is allowed.
#[derive(Debug)]
pub(crate) struct Head {
    key: String,
    expected_version: Option<i64>,
}

/// The commands by name: those of the contract that the edge's own key is granted.
#[derive(Debug, Default)]
pub(crate) struct Commands(HashMap<String, Command>);

impl Commands {
    pub(crate) fn new(contract: &CheckedContract, signer: &Signer) -> Self {
        let granted = contract.commands().filter(|entry| signer.grant().types.contains(&entry.name));
        Self(granted.map(|entry| (entry.name.to_string(), Command::new(entry, signer))).collect())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Command> {
        self.0.get(name)
    }
}

impl Command {
    fn new(entry: &PayloadEntry, signer: &Signer) -> Self {
        let route = |lane| Route::work(&entry.worker, signer.lane(lane));
        Self {
            name: entry.name.clone(),
            permission: entry.permission,
            callers: entry.callers,
            schema_version: entry.schema_version,
            versioned: entry.versioned,
            check: entry.check,
            main: route(Lane::Main),
            overflow: route(Lane::Overflow),
        }
    }

    pub(crate) fn name(&self) -> &MessageType {
        &self.name
    }

    pub(crate) fn route(&self, lane: Lane) -> &Route {
        match lane {
            Lane::Main => &self.main,
            Lane::Overflow => &self.overflow,
        }
    }

    /// May the caller ask for this? The worker decides again, with the role of that moment.
    pub(crate) fn permits(&self, caller: &Caller, roles: &RoleTable) -> Result<(), EdgeRule> {
        let principal = &caller.principal;
        let rule = match self.callers {
            Callers::Services if principal.kind == ActorKind::Service && caller.service_commands => return Ok(()),
            Callers::Services => EdgeRule::ServicesOnly,
            _ if principal.role.is_some_and(|role| roles.allows(role, self.permission)) => return Ok(()),
            _ => EdgeRule::RoleTable,
        };
        Err(rule)
    }

    /// What the head says beside the token.
    pub(crate) fn head(&self, headers: &HeaderMap) -> Result<Head, CommandFault> {
        let head = head(headers)?;
        if head.expected_version.is_some() && !self.versioned { Err(CommandFault::IfMatch) } else { Ok(head) }
    }

    /// Reads the body as the worker will, and makes the envelope.
    pub(crate) fn envelope(
        &self,
        deployment: &str,
        caller: &Caller,
        head: Head,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Envelope, CommandFault> {
        (self.check)(body).map_err(CommandFault::Invalid)?;
        let actor = caller.principal.actor_id();
        let identity = CommandIdentity { org: &caller.org, actor: &actor, command: &self.name, key: &head.key, body };
        let message_id = MessageId::of_command(deployment, &identity);
        let mut envelope = envelope(caller, self.name.clone(), message_id, now);
        envelope.schema_version = self.schema_version;
        envelope.dedupe_key = Some(head.key);
        envelope.expected_version = head.expected_version;
        Ok(envelope)
    }
}

/// What every command's head says.
fn head(headers: &HeaderMap) -> Result<Head, CommandFault> {
    if !one(headers, &CONTENT_TYPE).flatten().is_some_and(is_json) {
        return Err(CommandFault::ContentType);
    }
    let visible = |key: &&str| (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let key = one(headers, &IDEMPOTENCY_KEY).flatten().filter(visible).ok_or(CommandFault::IdempotencyKey)?;
    let expected_version = match one(headers, &IF_MATCH) {
        Some(None) => None,
        Some(Some(tag)) => Some(version(tag).ok_or(CommandFault::IfMatch)?),
        None => return Err(CommandFault::IfMatch),
    };
    Ok(Head { key: key.to_owned(), expected_version })
}

/// A message in the name of a caller.
fn envelope(caller: &Caller, message_type: MessageType, message_id: MessageId, now: OffsetDateTime) -> Envelope {
    Envelope {
        message_id,
        message_type,
        schema_version: 1,
        content_type: JSON.to_owned(),
        org_id: Some(caller.org.clone()),
        principal: caller.principal.clone(),
        token: Some((caller.token_id.clone(), caller.token_iat)),
        origin: None,
        dedupe_key: None,
        correlation_id: None,
        causation_id: None,
        issued_at: Timestamp::new(now),
        expected_version: None,
    }
}

/// What a worker audits of a refusal: the message, and its body.
pub(crate) fn refusal(
    caller: &Caller,
    action: &str,
    rule: EdgeRule,
    now: OffsetDateTime,
) -> Option<(Envelope, Vec<u8>)> {
    let message_type = MessageType::parse(EdgeRefused::NAME).ok()?;
    let body = EdgeRefused { action: action.to_owned(), rule }.body();
    Some((envelope(caller, message_type, MessageId::from(Uuid::now_v7()), now), body))
}

/// The one value of a header as text: `None` when there are several or it is no text, `Some(None)` when there is none.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().ok());
    match (first, values.next()) {
        (None, _) => Some(None),
        (Some(Some(value)), None) => Some(Some(value)),
        _ => None,
    }
}

/// `application/json`, at most with the one character set that JSON has.
fn is_json(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(JSON));
    json && parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
}

/// A version in quotes, in its one decimal form (RFC 9110, strong entity tag).
fn version(tag: &str) -> Option<i64> {
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    text.parse().ok().filter(|version: &i64| *version >= 0 && version.to_string() == text)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_head_has_one_key_json_and_perhaps_a_version() {
        let json = ("content-type", "application/json; charset=UTF-8");
        let read = head(&headers(&[json, ("idempotency-key", "k1"), ("if-match", "\"3\"")])).unwrap();
        assert_eq!((read.key.as_str(), read.expected_version), ("k1", Some(3)));
        let long = "k".repeat(KEY_BYTES + 1);
        for keys in [&[][..], &["a b"], &[""], &[&long], &["k1", "k1"]] {
            let mut pairs = vec![json];
            pairs.extend(keys.iter().map(|key| ("idempotency-key", *key)));
            assert_eq!(head(&headers(&pairs)).unwrap_err(), CommandFault::IdempotencyKey, "{keys:?}");
        }
        for kind in ["text/plain", "application/json; charset=latin1", "application/jsonp", ""] {
            let pairs = [("content-type", kind), ("idempotency-key", "k1")];
            assert_eq!(head(&headers(&pairs)).unwrap_err(), CommandFault::ContentType, "{kind}");
        }
        for tag in ["3", "\"03\"", "\"-1\"", "W/\"3\"", "*", "\"3\", \"4\"", "\"99999999999999999999\""] {
            let pairs = [json, ("idempotency-key", "k1"), ("if-match", tag)];
            assert_eq!(head(&headers(&pairs)).unwrap_err(), CommandFault::IfMatch, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn no_head_makes_reading_panic(value in "[ -~]{0,40}") {
            let _ = head(&headers(&[("content-type", &value), ("idempotency-key", &value), ("if-match", &value)]));
        }
    }
}
