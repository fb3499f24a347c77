//! A tenant's life, for services that sign customers up; operators have the same on the command line.
//!
//! The tenant is the one in the sealed envelope, so the publisher's grant bounds which.

use serde::Serialize;
use serde_json::Value;

use super::schema::{self, NAME_BYTES};
use crate::contract::{Action, Callers, Event, Gate, Malformed, Object, Payload, Permission};

const PERMISSION: Permission = Permission::new("tenant", Action::Write);

/// `tenants.create`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantsCreate {
    /// Name for people.
    pub name: String,
    /// Name of a plan in `ref.plans`; without one, `free`.
    pub plan: Option<String>,
}

impl Payload for TenantsCreate {
    const NAME: &'static str = "tenants.create";
    const PERMISSION: Permission = PERMISSION;
    const CALLERS: Callers = Callers::Services;
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let name = object.text("name", NAME_BYTES)?;
        let plan = object.optional_text("plan", 1..=64)?;
        object.done()?;
        Ok(Self { name, plan })
    }

    fn schema() -> Value {
        schema::object_with(&[("name", schema::text(&NAME_BYTES))], &[("plan", schema::text(&(1..=64)))])
    }
}

macro_rules! bodyless {
    ($(#[$doc:meta])* $name:ident, $wire:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name;

        impl Payload for $name {
            const NAME: &'static str = $wire;
            const PERMISSION: Permission = PERMISSION;
            const CALLERS: Callers = Callers::Services;
            const GATE: Gate = Gate::Open;

            fn parse(body: &[u8]) -> Result<Self, Malformed> {
                Object::read(body)?.done()?;
                Ok(Self)
            }

            fn schema() -> Value {
                schema::object(&[])
            }
        }
    };
}

bodyless!(
    /// `tenants.suspend`: its commands are rejected until it is resumed.
    TenantsSuspend,
    "tenants.suspend"
);
bodyless!(
    /// `tenants.resume`
    TenantsResume,
    "tenants.resume"
);
bodyless!(
    /// `tenants.close`: final. Its rows stay for the law and the audit; everything it asks for is rejected.
    TenantsClose,
    "tenants.close"
);

macro_rules! life_event {
    ($(#[$doc:meta])* $name:ident, $wire:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        pub struct $name {}

        impl Event for $name {
            const NAME: &'static str = $wire;

            fn schema() -> Value {
                schema::object(&[])
            }
        }
    };
}

life_event!(
    /// `tenants.created`
    TenantCreated,
    "tenants.created"
);
life_event!(
    /// `tenants.suspended`
    TenantSuspended,
    "tenants.suspended"
);
life_event!(
    /// `tenants.resumed`
    TenantResumed,
    "tenants.resumed"
);
life_event!(
    /// `tenants.closed`
    TenantClosed,
    "tenants.closed"
);
