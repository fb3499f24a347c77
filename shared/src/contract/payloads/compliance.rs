//! Compliance: erasing a person.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::schema::{self, USER_BYTES};
use crate::contract::{Action, Callers, Event, Gate, Malformed, Object, Payload, Permission};

const RESOURCE: &str = "compliance";
const UUID: &str = "must be a UUID";

/// `compliance.erase`: plans that a person's data is erased when the cooling-off is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceErase {
    /// The person's id with the identity provider.
    pub user_id: String,
}

/// `compliance.cancel_erasure`: takes a plan back while it is cooling off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceCancelErasure {
    /// As the operation of the plan gave it.
    pub erasure_id: Uuid,
}

/// `compliance.execute_erasure`: the worker's own message, which comes due when the cooling-off is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComplianceExecuteErasure {
    /// What is to be executed.
    pub erasure_id: Uuid,
}

fn erasure_id(body: &[u8]) -> Result<Uuid, Malformed> {
    let mut object = Object::read(body)?;
    let id = object.parsed("erasure_id", UUID, |text| Uuid::parse_str(text).ok())?;
    object.done()?;
    Ok(id)
}

fn erasure_schema() -> Value {
    schema::object(&[("erasure_id", schema::uuid())])
}

impl Payload for ComplianceErase {
    const NAME: &'static str = "compliance.erase";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let user_id = object.text("user_id", USER_BYTES)?;
        object.done()?;
        Ok(Self { user_id })
    }

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES))])
    }
}

impl Payload for ComplianceCancelErasure {
    const NAME: &'static str = "compliance.cancel_erasure";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { erasure_id: erasure_id(body)? })
    }

    fn schema() -> Value {
        erasure_schema()
    }
}

impl Payload for ComplianceExecuteErasure {
    const NAME: &'static str = "compliance.execute_erasure";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const CALLERS: Callers = Callers::System;
    /// A tenant that was closed meanwhile owes its people the erasure all the same.
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { erasure_id: erasure_id(body)? })
    }

    fn schema() -> Value {
        erasure_schema()
    }

    fn action(&self) -> &str {
        "erasure.executed"
    }
}

/// `compliance.erased`: whoever has the person's data from us erases it too (GDPR, article 19).
#[derive(Debug, Clone, Serialize)]
pub struct PersonErased {
    /// The person's id with the identity provider.
    pub user_id: String,
}

impl Event for PersonErased {
    const NAME: &'static str = "compliance.erased";

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES))])
    }
}
