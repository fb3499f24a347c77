//! A message as it stands on the wire: named text fields and a body, without a broker library.

use super::Lane;

/// Every named text field of a message. All values are text, so that the seal covers bytes as transmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// AMQP property `message_id`.
    MessageId,
    /// AMQP property `type`: the stable wire name.
    Type,
    /// AMQP property `content_type`.
    ContentType,
    /// AMQP property `correlation_id`: the whole story this message belongs to.
    CorrelationId,
    /// The tenant; absent for webhooks, whose tenant a worker resolves.
    OrgId,
    /// Kind of the principal.
    ActorKind,
    /// Id of the principal.
    ActorId,
    /// The principal's role at sealing.
    Role,
    /// `jti` of the token that authorized the command.
    TokenId,
    /// `iat` of that token, unix seconds.
    TokenIat,
    /// Webhook source.
    Source,
    /// Signature scheme the source's delivery was verified with.
    Scheme,
    /// Id of the source's secret that matched.
    SecretId,
    /// The inbox key where it is not the message id.
    DedupeKey,
    /// The message that directly caused this one.
    CausationId,
    /// Version of the payload's shape.
    SchemaVersion,
    /// When the publisher sealed it: RFC 3339 with six digits.
    IssuedAt,
    /// The resource version the caller expects.
    ExpectedVersion,
    /// Which key sealed it.
    KeyId,
    /// The seal: lower-case hex of HMAC-SHA256.
    Seal,
    /// `main` or `overflow`; outside the seal.
    Lane,
    /// W3C trace context; outside the seal.
    Traceparent,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 22] = [
        Self::MessageId,
        Self::Type,
        Self::ContentType,
        Self::CorrelationId,
        Self::OrgId,
        Self::ActorKind,
        Self::ActorId,
        Self::Role,
        Self::TokenId,
        Self::TokenIat,
        Self::Source,
        Self::Scheme,
        Self::SecretId,
        Self::DedupeKey,
        Self::CausationId,
        Self::SchemaVersion,
        Self::IssuedAt,
        Self::ExpectedVersion,
        Self::KeyId,
        Self::Seal,
        Self::Lane,
        Self::Traceparent,
    ];

    /// The header or property name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageId => "message_id",
            Self::Type => "type",
            Self::ContentType => "content_type",
            Self::CorrelationId => "correlation_id",
            Self::OrgId => "org_id",
            Self::ActorKind => "actor_kind",
            Self::ActorId => "actor_id",
            Self::Role => "role",
            Self::TokenId => "token_id",
            Self::TokenIat => "token_iat",
            Self::Source => "source",
            Self::Scheme => "scheme",
            Self::SecretId => "secret_id",
            Self::DedupeKey => "dedupe_key",
            Self::CausationId => "causation_id",
            Self::SchemaVersion => "schema_version",
            Self::IssuedAt => "issued_at",
            Self::ExpectedVersion => "expected_version",
            Self::KeyId => "key_id",
            Self::Seal => "seal",
            Self::Lane => "lane",
            Self::Traceparent => "traceparent",
        }
    }

    /// True for the four fields that are AMQP properties; the others are headers.
    pub fn is_property(self) -> bool {
        matches!(self, Self::MessageId | Self::Type | Self::ContentType | Self::CorrelationId)
    }

    /// Finds a header by its name.
    pub fn header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| !field.is_property() && field.name() == name)
    }

    /// Longest value, in bytes: that of an AMQP short string, which properties are.
    pub const LONGEST: usize = 255;
}

/// Why a delivery's fields cannot be read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// The value is a number, a table, not UTF-8, or has control characters, which neither lines nor jsonb take.
    #[error("field {} is not text", .0.name())]
    NotText(Field),
    /// Longer than any honest value.
    #[error("field {} is longer than {longest} bytes", .0.name(), longest = Field::LONGEST)]
    TooLong(Field),
}

/// A message as transmitted. Nothing in it is trusted before a [`super::Keyring`] opened it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireMessage {
    /// In the order of [`Field::ALL`], which is that of the enum.
    fields: [Option<String>; Field::ALL.len()],
    /// The payload, byte for byte.
    pub body: Vec<u8>,
}

impl WireMessage {
    /// A message with a body and no field.
    pub fn new(body: Vec<u8>) -> Self {
        Self { body, ..Self::default() }
    }

    /// The text of a field, if it is there. An empty text is there.
    pub fn get(&self, field: Field) -> Option<&str> {
        self.fields[field as usize].as_deref()
    }

    /// Puts or replaces a field.
    ///
    /// # Errors
    /// [`WireFault::TooLong`] beyond [`Field::LONGEST`], [`WireFault::NotText`] for control characters.
    pub fn set(&mut self, field: Field, value: impl Into<String>) -> Result<(), WireFault> {
        let value = value.into();
        if has_controls(&value) {
            return Err(WireFault::NotText(field));
        }
        if value.len() > Field::LONGEST {
            return Err(WireFault::TooLong(field));
        }
        self.fields[field as usize] = Some(value);
        Ok(())
    }

    /// Takes a field away.
    pub fn remove(&mut self, field: Field) {
        self.fields[field as usize] = None;
    }

    /// The fields that are there.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &str)> {
        Field::ALL.into_iter().filter_map(|field| Some((field, self.get(field)?)))
    }

    /// The lane mark; without one a message goes to overflow, since only those with a grant may say main.
    pub fn lane(&self) -> Lane {
        self.get(Field::Lane).and_then(Lane::parse).unwrap_or(Lane::Overflow)
    }

    /// The fields as JSON, as the outbox, `parked` and `dead_letters` keep them.
    pub fn fields_json(&self) -> serde_json::Value {
        self.fields().map(|(field, value)| (field.name().to_owned(), serde_json::Value::from(value))).collect()
    }

    /// Reads back what [`Self::fields_json`] wrote; unknown names are left out.
    ///
    /// # Errors
    /// A known field that is not text, or too long.
    pub fn from_json(fields: &serde_json::Value, body: Vec<u8>) -> Result<Self, WireFault> {
        let mut message = Self::new(body);
        for field in Field::ALL {
            match fields.get(field.name()) {
                None => {}
                Some(serde_json::Value::String(value)) => message.set(field, value.as_str())?,
                Some(_) => return Err(WireFault::NotText(field)),
            }
        }
        Ok(message)
    }
}

/// As [`char::is_control`] of any character; nearly every value is ASCII, whose bytes tell it at once.
fn has_controls(text: &str) -> bool {
    if text.is_ascii() { text.bytes().any(|byte| byte.is_ascii_control()) } else { text.chars().any(char::is_control) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_field_has_the_place_that_the_list_gives_it() {
        for (place, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, place, "{}", field.name());
        }
    }

    proptest! {
        #[test]
        fn control_characters_are_found_in_every_script(text in any::<String>()) {
            prop_assert_eq!(has_controls(&text), text.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_control_character_beyond_ascii_is_one() {
        assert!(has_controls("a\u{85}b") && has_controls("a\u{7f}") && !has_controls("\u{e9}"));
    }
}
