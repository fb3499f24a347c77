//! The metadata of a message, parsed.

use super::{
    ActorKind, CommandIdentity, Field, IdFault, KeyId, Lane, MessageId, MessageType, Principal, Role, TenantId,
    Timestamp, WireFault, WireMessage,
};

/// Why an authentic message still has no readable envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// A field every message carries is absent.
    #[error("field {} is missing", .0.name())]
    Missing(Field),
    /// A field's text is outside its grammar.
    #[error("field {} is malformed", .0.name())]
    Malformed(Field),
    /// A field cannot be transmitted.
    #[error(transparent)]
    Wire(#[from] WireFault),
}

/// Everything about a message except its body and its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Equal for every copy of this message.
    pub message_id: MessageId,
    /// Which payload the body is.
    pub message_type: MessageType,
    /// Version of that payload's shape, from 1.
    pub schema_version: u32,
    /// Media type of the body.
    pub content_type: String,
    /// The tenant, where the publisher knows it.
    pub org_id: Option<TenantId>,
    /// For whom it acts.
    pub principal: Principal,
    /// `jti` and `iat` of the token behind a command.
    pub token: Option<(String, i64)>,
    /// Where a webhook came from.
    pub origin: Option<Origin>,
    /// For a webhook its event within its source, which is the inbox key; for a command its idempotency key.
    pub dedupe_key: Option<String>,
    /// The whole story this message belongs to.
    pub correlation_id: Option<String>,
    /// Its direct cause.
    pub causation_id: Option<MessageId>,
    /// When it was sealed; for webhooks the time of receipt.
    pub issued_at: Timestamp,
    /// The resource version the caller expects.
    pub expected_version: Option<i64>,
}

/// How a webhook was verified: source, signature scheme, and which of the source's secrets matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the configured source.
    pub source: String,
    /// Scheme, such as `stripe-v1`.
    pub scheme: String,
    /// Id of the secret.
    pub secret_id: String,
}

impl Envelope {
    /// The key under which the inbox remembers this message.
    pub fn inbox_key(&self) -> &str {
        match (&self.origin, &self.dedupe_key) {
            (Some(_), Some(key)) => key,
            _ => self.message_id.as_str(),
        }
    }

    /// The idempotency key of a command.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.dedupe_key.as_deref().filter(|_| self.origin.is_none())
    }

    /// Does the message have the id that its dedupe key gives it? Without a key every id will do.
    pub(super) fn has_its_own_id(&self, deployment: &str, body: &[u8]) -> bool {
        let Some(key) = &self.dedupe_key else { return true };
        if self.origin.is_some() {
            return self.message_id == MessageId::derived(deployment, key);
        }
        let actor = self.principal.actor_id();
        self.org_id.as_ref().is_some_and(|org| {
            let identity = CommandIdentity { org, actor: &actor, command: &self.message_type, key, body };
            self.message_id == MessageId::of_command(deployment, &identity)
        })
    }

    /// Writes the envelope into wire fields. The seal comes after, see [`super::Signer`].
    ///
    /// # Errors
    /// A text longer than its field may be.
    pub(super) fn write(&self, key_id: &KeyId, lane: Lane, body: Vec<u8>) -> Result<WireMessage, WireFault> {
        let mut wire = WireMessage::new(body);
        wire.set(Field::MessageId, self.message_id.as_str())?;
        wire.set(Field::Type, self.message_type.as_str())?;
        wire.set(Field::SchemaVersion, self.schema_version.to_string())?;
        wire.set(Field::ContentType, self.content_type.as_str())?;
        wire.set(Field::ActorKind, self.principal.kind.as_str())?;
        wire.set(Field::ActorId, self.principal.id.as_str())?;
        wire.set(Field::IssuedAt, self.issued_at.to_string())?;
        wire.set(Field::KeyId, key_id.as_str())?;
        wire.set(Field::Lane, lane.as_str())?;
        let optional = [
            (Field::OrgId, self.org_id.as_ref().map(|id| id.as_str().to_owned())),
            (Field::Role, self.principal.role.map(|role| role.as_str().to_owned())),
            (Field::TokenId, self.token.as_ref().map(|(id, _)| id.clone())),
            (Field::TokenIat, self.token.as_ref().map(|(_, iat)| iat.to_string())),
            (Field::Source, self.origin.as_ref().map(|o| o.source.clone())),
            (Field::Scheme, self.origin.as_ref().map(|o| o.scheme.clone())),
            (Field::SecretId, self.origin.as_ref().map(|o| o.secret_id.clone())),
            (Field::DedupeKey, self.dedupe_key.clone()),
            (Field::CorrelationId, self.correlation_id.clone()),
            (Field::CausationId, self.causation_id.as_ref().map(|id| id.as_str().to_owned())),
            (Field::ExpectedVersion, self.expected_version.map(|v| v.to_string())),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                wire.set(field, value)?;
            }
        }
        Ok(wire)
    }

    /// Reads the envelope of an authentic message.
    ///
    /// # Errors
    /// A field that is missing or outside its grammar: the publisher is at fault, so the message is poison.
    pub(super) fn read(wire: &WireMessage) -> Result<Self, EnvelopeFault> {
        let id = |field| parse_id(wire, field, MessageId::parse);
        Ok(Self {
            message_id: required(id(Field::MessageId)?, Field::MessageId)?,
            message_type: required(parse_id(wire, Field::Type, MessageType::parse)?, Field::Type)?,
            schema_version: required(number(wire, Field::SchemaVersion)?, Field::SchemaVersion)?,
            content_type: required(text(wire, Field::ContentType), Field::ContentType)?,
            org_id: parse_id(wire, Field::OrgId, TenantId::parse)?,
            principal: principal(wire)?,
            token: pair(text(wire, Field::TokenId), number(wire, Field::TokenIat)?, Field::TokenIat)?,
            origin: origin(wire)?,
            dedupe_key: text(wire, Field::DedupeKey),
            correlation_id: text(wire, Field::CorrelationId),
            causation_id: id(Field::CausationId)?,
            issued_at: wire
                .get(Field::IssuedAt)
                .ok_or(EnvelopeFault::Missing(Field::IssuedAt))
                .and_then(|t| Timestamp::parse(t).ok_or(EnvelopeFault::Malformed(Field::IssuedAt)))?,
            expected_version: number(wire, Field::ExpectedVersion)?,
        })
    }
}

fn required<T>(value: Option<T>, field: Field) -> Result<T, EnvelopeFault> {
    value.ok_or(EnvelopeFault::Missing(field))
}

fn text(wire: &WireMessage, field: Field) -> Option<String> {
    wire.get(field).map(str::to_owned)
}

fn parse_id<T>(
    wire: &WireMessage,
    field: Field,
    parse: impl Fn(&str) -> Result<T, IdFault>,
) -> Result<Option<T>, EnvelopeFault> {
    wire.get(field).map(|t| parse(t).map_err(|_| EnvelopeFault::Malformed(field))).transpose()
}

/// A number in its one decimal form: neither `+1` nor `01`.
fn number<T>(wire: &WireMessage, field: Field) -> Result<Option<T>, EnvelopeFault>
where
    T: std::str::FromStr + ToString,
{
    let read = |text: &str| text.parse().ok().filter(|number: &T| number.to_string() == text);
    wire.get(field).map(|text| read(text).ok_or(EnvelopeFault::Malformed(field))).transpose()
}

fn pair<A, B>(a: Option<A>, b: Option<B>, field: Field) -> Result<Option<(A, B)>, EnvelopeFault> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        _ => Err(EnvelopeFault::Malformed(field)),
    }
}

fn principal(wire: &WireMessage) -> Result<Principal, EnvelopeFault> {
    let kind = wire.get(Field::ActorKind).ok_or(EnvelopeFault::Missing(Field::ActorKind))?;
    let role =
        wire.get(Field::Role).map(|t| Role::parse(t).ok_or(EnvelopeFault::Malformed(Field::Role))).transpose()?;
    Ok(Principal {
        kind: ActorKind::parse(kind).ok_or(EnvelopeFault::Malformed(Field::ActorKind))?,
        id: required(text(wire, Field::ActorId), Field::ActorId)?,
        role,
    })
}

fn origin(wire: &WireMessage) -> Result<Option<Origin>, EnvelopeFault> {
    match (text(wire, Field::Source), text(wire, Field::Scheme), text(wire, Field::SecretId)) {
        (Some(source), Some(scheme), Some(secret_id)) => Ok(Some(Origin { source, scheme, secret_id })),
        (None, None, None) => Ok(None),
        _ => Err(EnvelopeFault::Malformed(Field::Source)),
    }
}
