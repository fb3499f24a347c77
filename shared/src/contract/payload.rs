//! What a body is, where its tenant comes from, and what it takes to be allowed.

use super::{Permission, Principal};

/// The body is not what its type says. Final: the same bytes will never parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// Path of the offending field, or `body`.
    pub field: &'static str,
    /// What is wrong with it; never the value.
    pub problem: &'static str,
}

impl Malformed {
    /// Names a field and what is wrong with it.
    pub const fn new(field: &'static str, problem: &'static str) -> Self {
        Self { field, problem }
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

/// A body with a stable wire name and the permission it takes.
pub trait Payload: Sized + Send + Sync + 'static {
    /// Stable wire name.
    const NAME: &'static str;
    /// Newest shape this build reads; a newer one waits for a newer worker.
    const SCHEMA_VERSION: u32 = 1;
    /// Asked early at the edge and for real in the worker.
    const PERMISSION: Permission;

    /// Reads the body.
    ///
    /// # Errors
    /// [`Malformed`] names the field; at the edge that is a 422, in a worker poison.
    fn parse(body: &[u8]) -> Result<Self, Malformed>;

    /// Where the tenant stands.
    fn tenancy(&self) -> Tenancy {
        Tenancy::Envelope
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
