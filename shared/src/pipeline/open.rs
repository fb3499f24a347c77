//! Receive and open: from a delivery to a parcel whose sender is known, or known to be unknown.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::claim::WINDOW;
use super::fate::Fate;
use super::handler::Prepared;
use super::road::Road;
use crate::amqp::Delivered;
use crate::contract::{
    Callers, Envelope, Lane, Link, Opened, OutsideGrant, SealFault, Tenancy, TenantId, Timestamp, WireMessage,
};

/// How long an unknown type or version waits for a newer worker.
const UNKNOWN_TYPE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Code of a message that the inbox may have forgotten.
pub const TOO_OLD: &str = "too_old_to_dedupe";

/// Publisher and message id.
pub(super) type MessageName = (String, String);

/// One message on its road.
pub(super) struct Parcel {
    pub(super) wire: Arc<WireMessage>,
    /// `None` when nobody known sealed it.
    pub(super) opened: Option<Opened>,
    pub(super) prepared: Option<Box<dyn Prepared>>,
    /// Where the tenant stands, for what is to be handled or ignored.
    pub(super) home: Home,
    /// Decided before, or by a run that was rolled back.
    pub(super) fate: Option<Fate>,
    /// Dead under this code unless the inbox knows it.
    pub(super) condemned: Option<(&'static str, i32)>,
    /// The broker has handed it out before.
    pub(super) redelivered: bool,
    /// This execution is counted already.
    pub(super) counted: bool,
    /// The broker gave up on it: it comes from the dead-letter queue.
    pub(super) given_up: bool,
    /// A call to the outside that has had its turn.
    pub(super) called: bool,
}

/// Where a parcel's tenant stands.
pub(super) enum Home {
    /// Known, the reserved operator tenant included.
    Tenant(TenantId),
    /// Behind a provider link.
    Link(Link),
}

impl Parcel {
    /// The publisher the seal names; the hash of the raw bytes where there is none.
    pub(super) fn publisher(&self) -> String {
        match &self.opened {
            Some(opened) => opened.publisher.name.to_string(),
            None => format!("unknown:{}", hex::encode(&self.raw_hash()[..16])),
        }
    }

    /// The message id; the hash of the raw bytes where there is no envelope.
    pub(super) fn message_id(&self) -> String {
        match &self.opened {
            Some(opened) => opened.envelope.message_id.to_string(),
            None => hex::encode(self.raw_hash()),
        }
    }

    /// Its lane. The mark stands outside the seal, so it never lifts a message above its publisher's grant.
    pub(super) fn lane(&self) -> Lane {
        let marked = self.wire.lane();
        self.opened.as_ref().map_or(marked, |opened| marked.max(opened.publisher.grant.lane))
    }

    /// SHA-256 over everything that arrived: equal bytes are one dead letter.
    pub(super) fn raw_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (field, value) in self.wire.fields() {
            hash.update(field.name());
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        hash.update(Sha256::digest(&self.wire.body));
        hash.finalize().into()
    }

    /// Its authentic envelope names a tenant.
    pub(super) fn names_tenant(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.envelope.org_id.is_some())
    }

    /// A call to the outside is to be made for it.
    pub(super) fn calls(&self) -> bool {
        self.fate.is_none() && !self.called && self.prepared.as_ref().is_some_and(|prepared| prepared.calls())
    }

    /// It will be handled, and may have been begun before.
    pub(super) fn runs_again(&self) -> bool {
        self.redelivered && self.fate.is_none() && self.opened.is_some()
    }

    /// What it is kept under while it is parked, and counted.
    pub(super) fn name(&self) -> MessageName {
        (self.publisher(), self.message_id())
    }

    /// The key the inbox remembers it by.
    pub(super) fn inbox_key(&self) -> [u8; 32] {
        let key = self.opened.as_ref().map_or("", |opened| opened.envelope.inbox_key());
        Sha256::digest(key).into()
    }

    fn dead(wire: Arc<WireMessage>, opened: Option<Opened>, code: &'static str, redelivered: bool) -> Self {
        Self::decided(wire, opened, Fate::Dead { code, attempts: 0 }, redelivered)
    }

    fn decided(wire: Arc<WireMessage>, opened: Option<Opened>, fate: Fate, redelivered: bool) -> Self {
        // What is dead by itself belongs to its tenant where an authentic envelope names one, else to the operator.
        let home = match (&fate, &opened) {
            (
                Fate::Dead { .. } | Fate::Wait { .. },
                Some(Opened { envelope: Envelope { org_id: Some(org), .. }, .. }),
            ) => org.clone(),
            _ => TenantId::operator(),
        };
        Self::new(wire, opened, None, Home::Tenant(home), Some(fate), redelivered)
    }

    fn new(
        wire: Arc<WireMessage>,
        opened: Option<Opened>,
        prepared: Option<Box<dyn Prepared>>,
        home: Home,
        fate: Option<Fate>,
        redelivered: bool,
    ) -> Self {
        Self {
            wire,
            opened,
            prepared,
            home,
            fate,
            condemned: None,
            redelivered,
            counted: false,
            given_up: false,
            called: false,
        }
    }
}

impl Road {
    /// Opens the seal, asks the grant, parses the body, finds out where the tenant stands.
    pub(super) fn open(&self, delivered: &Delivered, now: Timestamp) -> Parcel {
        let (wire, redelivered) = (Arc::clone(&delivered.message), delivered.redelivered);
        let opened = match self.authentic(delivered) {
            Ok(opened) => opened,
            Err(code) => return Parcel::dead(wire, None, code, redelivered),
        };
        if let Err(outside) = opened.publisher.grant.covers(&opened.envelope) {
            let fate = Fate::OutsideGrant { rule: rule(outside) };
            return Parcel::decided(wire, Some(opened), fate, redelivered);
        }
        let prepared = match self.handlers.prepare(&opened.envelope, &wire.body, now) {
            None => {
                let fate = Fate::wait("unknown_type", UNKNOWN_TYPE_WINDOW);
                return Parcel::decided(wire, Some(opened), fate, redelivered);
            }
            Some(Err(malformed)) => {
                tracing::warn!(message.id = %opened.envelope.message_id, field = %malformed.field, "malformed payload");
                return Parcel::dead(wire, Some(opened), "malformed", redelivered);
            }
            Some(Ok(prepared)) => prepared,
        };
        let since = prepared.signed_at().unwrap_or(opened.envelope.issued_at);
        let mut parcel = self.housed(wire, opened, prepared, redelivered);
        // The system's own messages may come due late: their handlers decide by the state of a row, so a copy does no harm.
        let ages = parcel.prepared.as_ref().is_some_and(|prepared| prepared.request().callers != Callers::System);
        if ages && now.moment() - since.moment() > WINDOW {
            parcel.condemned = Some((TOO_OLD, 0));
        }
        parcel
    }

    fn authentic(&self, delivered: &Delivered) -> Result<Opened, &'static str> {
        if delivered.fault.is_some() {
            return Err("not_text");
        }
        self.keyring.open(&delivered.message).map_err(|fault: SealFault| fault.code())
    }

    fn housed(&self, wire: Arc<WireMessage>, opened: Opened, prepared: Box<dyn Prepared>, redelivered: bool) -> Parcel {
        let (home, fate) = match (prepared.tenancy(), &opened.envelope.org_id) {
            (Tenancy::Link(link), _) => (Home::Link(link), None),
            (Tenancy::Unhandled, _) => (Home::Tenant(TenantId::operator()), Some(Fate::Ignored)),
            (Tenancy::Envelope, Some(org)) => (Home::Tenant(org.clone()), None),
            (Tenancy::Envelope, None) => {
                (Home::Tenant(TenantId::operator()), Some(Fate::Dead { code: "tenant_missing", attempts: 0 }))
            }
        };
        Parcel::new(wire, Some(opened), Some(prepared), home, fate, redelivered)
    }
}

fn rule(outside: OutsideGrant) -> &'static str {
    match outside {
        OutsideGrant::Type => "grant_type",
        OutsideGrant::Tenant => "grant_tenant",
        OutsideGrant::ActorKind => "grant_actor_kind",
        OutsideGrant::Role => "grant_role",
    }
}
