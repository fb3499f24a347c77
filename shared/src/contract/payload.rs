//! What a body is, where its tenant comes from, and what it takes to be allowed.

use std::borrow::Cow;

use super::{ActorKind, Permission, Principal, Timestamp};

/// The body is not what its type says. Final: the same bytes will never parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// Path of the offending field, or `body`.
    pub field: Cow<'static, str>,
    /// What is wrong with it; never the value.
    pub problem: &'static str,
}

impl Malformed {
    /// Names a field and what is wrong with it.
    pub fn new(field: impl Into<Cow<'static, str>>, problem: &'static str) -> Self {
        Self { field: field.into(), problem }
    }
}

/// The provider's name for a customer: what `provider_links` maps to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    /// Provider, such as `stripe`.
    pub provider: String,
    /// The provider's connected account; empty for one's own.
    pub account: String,
    /// Live or test mode.
    pub livemode: bool,
    /// The customer's id with the provider.
    pub external_id: String,
}

impl Link {
    /// Whose rate its events count towards: the connected account where there is one, since its owner can make any number
    /// of customers; else the customer.
    pub fn sender(self) -> String {
        if self.account.is_empty() { self.external_id } else { self.account }
    }
}

/// Where a payload's tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// In the sealed envelope.
    Envelope,
    /// Behind a link that a worker resolves from verified content.
    Link(Link),
    /// Nobody handles this kind of event, so no tenant is looked up; settled as ignored.
    Unhandled,
}

/// Whose messages of a type are taken at all, before any role is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Callers {
    /// A tenant's users and services, each as far as its role goes.
    Members,
    /// Services alone, as far as their publisher's grant goes: no role of a tenant reaches it.
    Services,
    /// Webhook sources.
    Webhooks,
    /// The ingress, in the name of whom it refused.
    Edge,
    /// Workers, with what follows from a message that they applied.
    System,
}

impl Callers {
    /// Is this kind of principal among them?
    pub fn include(self, kind: ActorKind) -> bool {
        match self {
            Self::Edge => true,
            Self::Members => matches!(kind, ActorKind::User | ActorKind::Service),
            Self::Services => kind == ActorKind::Service,
            Self::Webhooks => kind == ActorKind::Webhook,
            Self::System => kind == ActorKind::System,
        }
    }

    /// True for commands, which the edge serves and services publish.
    pub fn send_commands(self) -> bool {
        matches!(self, Self::Members | Self::Services)
    }
}

/// In which standing a tenant has to be for a type of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Neither suspended nor held back by what it owes.
    GoodStanding,
    /// There, and not closed: paying, leaving and taking one's data along stay open at every level.
    Open,
    /// Whatever it is, even if it is not there yet.
    Always,
}

/// A body with a stable wire name and the permission it takes.
pub trait Payload: Sized + Send + Sync + 'static {
    /// Stable wire name.
    const NAME: &'static str;
    /// Newest shape this build reads; a newer one waits for a newer worker.
    const SCHEMA_VERSION: u32 = 1;
    /// Asked early at the edge and for real in the worker.
    const PERMISSION: Permission;
    /// Who may send it.
    const CALLERS: Callers = Callers::Members;
    /// What its tenant's standing has to be.
    const GATE: Gate = Gate::GoodStanding;
    /// Does its handler compare the version that the caller expects? The edge refuses one that would be ignored.
    const VERSIONED: bool = false;

    /// Reads the body.
    ///
    /// # Errors
    /// [`Malformed`] names the field; at the edge that is a 422, in a worker poison.
    fn parse(body: &[u8]) -> Result<Self, Malformed>;

    /// JSON Schema of the body, for the OpenAPI and AsyncAPI documents.
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "object" })
    }

    /// Where the tenant stands.
    fn tenancy(&self) -> Tenancy {
        Tenancy::Envelope
    }

    /// When the sender says that it happened, where its signature covers that: how old a copy may be is counted from here.
    /// Else from when the envelope was sealed.
    fn signed_at(&self) -> Option<Timestamp> {
        None
    }

    /// The action an audit line shows.
    fn action(&self) -> &str {
        Self::NAME
    }

    /// The principal an audit line shows, given the sealed one.
    fn actor(&self, sealed: &Principal) -> String {
        sealed.actor_id()
    }
}
