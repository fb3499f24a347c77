//! Who may publish what, and how a message proves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    ActorKind, Envelope, EnvelopeFault, Field, KeyId, Lane, MessageId, MessageType, OperationId, PublisherName, Role,
    SealKey, TenantId, Timestamp, WireFault, WireMessage,
};

/// Which tenants a key may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant, the reserved operator tenant included.
    All,
    /// Only messages that name no tenant, such as webhooks.
    Unresolved,
    /// These, and messages that name no tenant are outside.
    Only(Vec<TenantId>),
}

/// What a key may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Message types, by full name.
    pub types: Vec<MessageType>,
    /// Tenants.
    pub tenants: Tenants,
    /// Kinds of principal it may name.
    pub kinds: Vec<ActorKind>,
    /// Highest role its principals may carry.
    pub highest_role: Role,
    /// Best lane it may mark.
    pub lane: Lane,
}

/// Why an authentic message is denied: its publisher has no grant for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutsideGrant {
    /// The type.
    #[error("type")]
    Type,
    /// The tenant.
    #[error("tenant")]
    Tenant,
    /// The kind of principal.
    #[error("actor_kind")]
    ActorKind,
    /// The role.
    #[error("role")]
    Role,
}

impl Grant {
    /// Does the grant cover this message?
    ///
    /// # Errors
    /// Names the first thing that lies outside.
    pub fn covers(&self, envelope: &Envelope) -> Result<(), OutsideGrant> {
        if !self.types.contains(&envelope.message_type) {
            return Err(OutsideGrant::Type);
        }
        let tenant_covered = match (&self.tenants, &envelope.org_id) {
            (Tenants::All, _) | (Tenants::Unresolved, None) => true,
            (Tenants::Only(some), Some(org)) => some.contains(org),
            (Tenants::Unresolved, Some(_)) | (Tenants::Only(_), None) => false,
        };
        if !tenant_covered {
            return Err(OutsideGrant::Tenant);
        }
        if !self.kinds.contains(&envelope.principal.kind) {
            return Err(OutsideGrant::ActorKind);
        }
        if envelope.principal.role.is_some_and(|role| role > self.highest_role) {
            return Err(OutsideGrant::Role);
        }
        Ok(())
    }
}

/// One publisher's key with its grant.
#[derive(Debug)]
pub struct Publisher {
    /// Which key.
    pub key_id: KeyId,
    /// Whose key; the inbox's source.
    pub name: PublisherName,
    /// What it may send.
    pub grant: Grant,
    /// The secret.
    pub key: SealKey,
}

/// Why a message is not authentic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// No key id or no seal.
    #[error("the message carries no seal")]
    Unsealed,
    /// A key id nobody configured, or one that was revoked.
    #[error("the key id is unknown")]
    UnknownKey,
    /// The seal does not fit the message.
    #[error("the seal does not fit the message")]
    Forged,
    /// Sealed by a known publisher, but not readable.
    #[error("sealed, but unreadable")]
    Envelope(#[source] EnvelopeFault),
}

impl SealFault {
    /// Stable code for dead letters, metrics and audit lines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Envelope(_) => "envelope_malformed",
        }
    }
}

/// An authentic message: its publisher, its envelope, its body.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Who sealed it.
    pub publisher: Arc<Publisher>,
    /// Its metadata.
    pub envelope: Envelope,
}

/// All keys a process opens messages with.
#[derive(Debug, Clone)]
pub struct Keyring {
    deployment: String,
    publishers: BTreeMap<KeyId, Arc<Publisher>>,
}

impl Keyring {
    /// Gathers the keys of a deployment; of two keys with one id the later stays.
    pub fn new(deployment: &str, publishers: Vec<Publisher>) -> Self {
        let publishers = publishers.into_iter().map(|p| (p.key_id.clone(), Arc::new(p))).collect();
        Self { deployment: deployment.to_owned(), publishers }
    }

    /// Checks the seal, then reads the envelope. The grant is asked separately, because what lies outside it is
    /// denied, not dead.
    ///
    /// # Errors
    /// [`SealFault`]; such a message goes to `dead_letters` with its raw bytes.
    pub fn open(&self, wire: &WireMessage) -> Result<Opened, SealFault> {
        let (Some(key_id), Some(seal)) = (wire.get(Field::KeyId), wire.get(Field::Seal)) else {
            return Err(SealFault::Unsealed);
        };
        let publisher =
            KeyId::parse(key_id).ok().and_then(|id| self.publishers.get(&id)).ok_or(SealFault::UnknownKey)?;
        if !publisher.key.verify(&self.deployment, wire, seal) {
            return Err(SealFault::Forged);
        }
        let envelope = Envelope::read(wire).map_err(SealFault::Envelope)?;
        if !envelope.has_its_own_id(&self.deployment, &wire.body) {
            return Err(SealFault::Envelope(EnvelopeFault::Malformed(Field::MessageId)));
        }
        Ok(Opened { publisher: Arc::clone(publisher), envelope })
    }

    /// Every key of one publisher: during a rotation there are several.
    pub fn keys_of<'k>(&'k self, publisher: &'k PublisherName) -> impl Iterator<Item = &'k SealKey> {
        self.publishers.values().filter(move |entry| entry.name == *publisher).map(|entry| &entry.key)
    }

    /// What each key of one publisher may send.
    pub fn grants_of<'k>(&'k self, publisher: &'k PublisherName) -> impl Iterator<Item = &'k Grant> {
        self.publishers.values().filter(move |entry| entry.name == *publisher).map(|entry| &entry.grant)
    }

    /// A signer with one of the keys, if it is here.
    pub fn signer(&self, key_id: &KeyId) -> Option<Signer> {
        let publisher = Arc::clone(self.publishers.get(key_id)?);
        Some(Signer { deployment: self.deployment.clone(), publisher })
    }
}

/// Seals messages under one key.
#[derive(Debug, Clone)]
pub struct Signer {
    deployment: String,
    publisher: Arc<Publisher>,
}

impl Signer {
    /// Whose key it is.
    pub fn publisher(&self) -> &PublisherName {
        &self.publisher.name
    }

    /// What its key may send.
    pub fn grant(&self) -> &Grant {
        &self.publisher.grant
    }

    /// The operation id of a command that this signer sealed for a tenant, as it is given at this time.
    pub fn operation(&self, org: &TenantId, message_id: &MessageId, given: Timestamp) -> OperationId {
        OperationId::new(&self.publisher.key, &self.deployment, org, message_id, given)
    }

    /// Name of the deployment whose messages it seals.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// A signer for a program that holds one key and none of the deployment's configuration. What it may send is decided
    /// by the workers, from the grant in theirs.
    pub fn alone(deployment: &str, publisher: Publisher) -> Self {
        Self { deployment: deployment.to_owned(), publisher: Arc::new(publisher) }
    }

    /// The better of the lanes that this key's grant allows, for a message that wants `lane`.
    pub fn lane(&self, lane: Lane) -> Lane {
        lane.max(self.publisher.grant.lane)
    }

    /// Writes and seals a message; its lane mark never exceeds the grant.
    ///
    /// # Errors
    /// A text longer than its field may be.
    pub fn seal(&self, envelope: &Envelope, lane: Lane, body: Vec<u8>) -> Result<WireMessage, WireFault> {
        let mut wire = envelope.write(&self.publisher.key_id, self.lane(lane), body)?;
        let seal = self.publisher.key.seal(&self.deployment, &wire);
        wire.set(Field::Seal, seal)?;
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seal::SEALED_FIELDS;
    use super::super::{CommandIdentity, Origin, Principal, Timestamp};
    use super::*;
    use proptest::prelude::*;

    fn ring() -> Keyring {
        let publisher = Publisher {
            key_id: KeyId::parse("ingress-1").unwrap(),
            name: PublisherName::parse("ingress").unwrap(),
            key: SealKey::new(b"0123456789abcdef0123456789abcdef").unwrap(),
            grant: Grant {
                types: vec![MessageType::parse("stripe.event").unwrap()],
                tenants: Tenants::Unresolved,
                kinds: vec![ActorKind::Webhook],
                highest_role: Role::Viewer,
                lane: Lane::Main,
            },
        };
        Keyring::new("demo", vec![publisher])
    }

    fn envelope() -> Envelope {
        Envelope {
            message_id: MessageId::derived("demo", "stripe:evt_1"),
            message_type: MessageType::parse("stripe.event").unwrap(),
            schema_version: 1,
            content_type: "application/json".into(),
            org_id: None,
            principal: Principal::webhook("stripe"),
            token: None,
            origin: Some(Origin { source: "stripe".into(), scheme: "stripe-v1".into(), secret_id: "s1".into() }),
            dedupe_key: Some("stripe:evt_1".into()),
            correlation_id: None,
            causation_id: None,
            issued_at: Timestamp::from_unix(1_700_000_000).unwrap(),
            expected_version: None,
        }
    }

    fn sealed() -> WireMessage {
        let signer = ring().signer(&KeyId::parse("ingress-1").unwrap()).unwrap();
        signer.seal(&envelope(), Lane::Main, br#"{"id":"evt_1"}"#.to_vec()).unwrap()
    }

    #[test]
    fn a_sealed_message_opens_to_what_was_sealed() {
        let opened = ring().open(&sealed()).unwrap();
        assert_eq!(opened.envelope, envelope());
        assert_eq!(opened.publisher.grant.covers(&opened.envelope), Ok(()));
    }

    /// The vector another language checks itself against.
    #[test]
    fn the_seal_of_the_example_is_this() {
        assert_eq!(
            sealed().get(Field::Seal).unwrap(),
            "afb7a106fccf22bbf05ad9c058a2e35194ceebcbcd279ce7293ea660c3c90627"
        );
    }

    #[test]
    fn changing_or_dropping_any_sealed_field_or_the_body_is_noticed() {
        for field in SEALED_FIELDS {
            let mut changed = sealed();
            changed.set(field, "x").unwrap();
            assert!(ring().open(&changed).is_err(), "{}", field.name());
            let mut dropped = sealed();
            if dropped.get(field).is_some() {
                dropped.remove(field);
                assert!(ring().open(&dropped).is_err(), "{}", field.name());
            }
        }
        let mut body = sealed();
        body.body.push(b' ');
        assert_eq!(ring().open(&body).unwrap_err(), SealFault::Forged);
    }

    #[test]
    fn a_dedupe_key_has_one_message_id() {
        let signer = ring().signer(&KeyId::parse("ingress-1").unwrap()).unwrap();
        let mut two_names = envelope();
        two_names.message_id = MessageId::derived("demo", "stripe:evt_2");
        let wire = signer.seal(&two_names, Lane::Main, Vec::new()).unwrap();
        let expected = SealFault::Envelope(EnvelopeFault::Malformed(Field::MessageId));
        assert_eq!(ring().open(&wire).unwrap_err(), expected);
    }

    #[test]
    fn an_idempotency_key_has_one_message_id_for_each_body() {
        let signer = ring().signer(&KeyId::parse("ingress-1").unwrap()).unwrap();
        let mut command = Envelope { origin: None, ..envelope() };
        command.org_id = Some(TenantId::parse("acme").unwrap());
        command.dedupe_key = Some("k1".into());
        let body = br#"{"name":"x"}"#;
        let identity = CommandIdentity {
            org: command.org_id.as_ref().unwrap(),
            actor: &command.principal.actor_id(),
            command: &command.message_type,
            key: "k1",
            body,
        };
        let own = MessageId::of_command("demo", &identity);
        assert_ne!(own, MessageId::of_command("demo", &CommandIdentity { body: b"{}", ..identity }));
        assert_ne!(own, MessageId::of_command("demo", &CommandIdentity { key: "k2", ..identity }));
        assert_ne!(own, MessageId::of_command("demo", &CommandIdentity { actor: "user:other", ..identity }));
        let opens = |envelope: &Envelope| ring().open(&signer.seal(envelope, Lane::Main, body.to_vec()).unwrap());
        let expected = SealFault::Envelope(EnvelopeFault::Malformed(Field::MessageId));
        assert_eq!(opens(&command).unwrap_err(), expected);
        command.message_id = own.clone();
        let opened = opens(&command).unwrap();
        assert_eq!(opened.envelope.inbox_key(), own.as_str());
        assert_eq!(opened.envelope.idempotency_key(), Some("k1"));
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let mut wire = sealed();
        wire.set(Field::OrgId, "").unwrap();
        assert_eq!(ring().open(&wire).unwrap_err(), SealFault::Forged);
    }

    #[test]
    fn another_deployment_with_the_same_key_is_another_world() {
        let mut other = ring();
        other.deployment = "other".into();
        assert_eq!(other.open(&sealed()).unwrap_err(), SealFault::Forged);
    }

    #[test]
    fn lane_and_trace_context_stay_outside() {
        let mut wire = sealed();
        wire.set(Field::Lane, "overflow").unwrap();
        wire.set(Field::Traceparent, "00-1-2-01").unwrap();
        assert!(ring().open(&wire).is_ok());
    }

    #[test]
    fn a_message_without_seal_or_with_a_strange_key_is_refused() {
        let mut unsealed = sealed();
        unsealed.remove(Field::Seal);
        assert_eq!(ring().open(&unsealed).unwrap_err(), SealFault::Unsealed);
        let mut strange = sealed();
        strange.set(Field::KeyId, "ingress-2").unwrap();
        assert_eq!(ring().open(&strange).unwrap_err(), SealFault::UnknownKey);
    }

    #[test]
    fn the_grant_bounds_type_tenant_kind_and_role() {
        let grant = ring().publishers.values().next().unwrap().grant.clone();
        let mut other = envelope();
        other.message_type = MessageType::parse("projects.create").unwrap();
        assert_eq!(grant.covers(&other), Err(OutsideGrant::Type));
        let mut other = envelope();
        other.org_id = Some(TenantId::parse("acme").unwrap());
        assert_eq!(grant.covers(&other), Err(OutsideGrant::Tenant));
        let mut other = envelope();
        other.principal.kind = ActorKind::Operator;
        assert_eq!(grant.covers(&other), Err(OutsideGrant::ActorKind));
        let mut other = envelope();
        other.principal.role = Some(Role::Admin);
        assert_eq!(grant.covers(&other), Err(OutsideGrant::Role));
    }

    proptest! {
        #[test]
        fn no_bytes_in_fields_make_opening_panic(
            values in proptest::collection::vec("\\PC{0,60}", Field::ALL.len()),
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut wire = WireMessage::new(body);
            for (field, value) in Field::ALL.into_iter().zip(values) {
                if value.len() <= Field::LONGEST {
                    wire.set(field, value).unwrap();
                }
            }
            prop_assert!(ring().open(&wire).is_err());
        }
    }
}
