//! Compliance: erasing a person, or a whole tenant.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::schema::{self, USER_BYTES};
use crate::contract::{Action, Callers, Event, Gate, Malformed, Object, Payload, Permission};

const RESOURCE: &str = "compliance";
const UUID: &str = "must be a UUID";
/// A person of the tenant.
const SUBJECT: &str = "subject";
/// The tenant itself.
const ORG: &str = "org";
/// Bytes of a tenant's id.
const ORG_BYTES: std::ops::RangeInclusive<usize> = 1..=64;

/// Whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureScope {
    /// One person's.
    Subject {
        /// The person's id with the identity provider.
        user_id: String,
    },
    /// All of the tenant's.
    Org {
        /// The tenant once more, so that nobody erases one by mistake.
        org_id: String,
    },
}

/// `compliance.erase`: plans that data is erased when the cooling-off is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceErase {
    /// Whose.
    pub scope: ErasureScope,
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

/// How far the erasure of a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureStage {
    /// The tombstone is placed, and the first rows go.
    Begin,
    /// More rows go.
    Continue,
    /// Nothing is left: the certificate is made.
    Settle,
}

impl ErasureStage {
    const ALL: [Self; 3] = [Self::Begin, Self::Continue, Self::Settle];

    fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Continue => "continue",
            Self::Settle => "settle",
        }
    }
}

/// `compliance.erase_org`: a step of a tenant's erasure, each a transaction of its own. The worker's own message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComplianceEraseOrg {
    /// Of which erasure.
    pub erasure_id: Uuid,
    /// What is next.
    pub stage: ErasureStage,
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
    /// The second has a scope.
    const SCHEMA_VERSION: u32 = 2;
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let scope = match object.optional_text("scope", 1..=16)?.as_deref() {
            None | Some(SUBJECT) => ErasureScope::Subject { user_id: object.text("user_id", USER_BYTES)? },
            Some(ORG) => ErasureScope::Org { org_id: object.text("org_id", ORG_BYTES)? },
            Some(_) => return Err(Malformed::new("scope", "must be subject or org")),
        };
        object.done()?;
        Ok(Self { scope })
    }

    fn schema() -> Value {
        let mut scope = schema::word(&[SUBJECT, ORG]);
        scope["description"] =
            "One person of the tenant, by `user_id`, unless it says `org`: the whole tenant, whose id \
            is repeated in `org_id`."
                .into();
        let fields = [("scope", scope), ("user_id", schema::text(&USER_BYTES)), ("org_id", schema::text(&ORG_BYTES))];
        schema::object_with(&[], &fields)
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

impl Payload for ComplianceEraseOrg {
    const NAME: &'static str = "compliance.erase_org";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const CALLERS: Callers = Callers::System;
    /// The tenant is closed from its first step on.
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let erasure_id = object.parsed("erasure_id", UUID, |text| Uuid::parse_str(text).ok())?;
        let of = |text: &str| ErasureStage::ALL.into_iter().find(|stage| stage.as_str() == text);
        let stage = object.parsed("stage", "must be begin, continue or settle", of)?;
        object.done()?;
        Ok(Self { erasure_id, stage })
    }

    fn schema() -> Value {
        let stages = ErasureStage::ALL.map(ErasureStage::as_str);
        schema::object(&[("erasure_id", schema::uuid()), ("stage", schema::word(&stages))])
    }

    fn action(&self) -> &str {
        match self.stage {
            ErasureStage::Begin => "erasure.begun",
            ErasureStage::Continue => "erasure.continued",
            ErasureStage::Settle => "erasure.executed",
        }
    }
}

/// `compliance.org_erased`: whoever has data of the tenant from us erases it too.
#[derive(Debug, Clone, Serialize)]
pub struct OrgErased {}

impl Event for OrgErased {
    const NAME: &'static str = "compliance.org_erased";

    fn schema() -> Value {
        schema::object(&[])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(body: &str) -> Result<ErasureScope, String> {
        ComplianceErase::parse(body.as_bytes()).map(|erase| erase.scope).map_err(|fault| fault.field.into_owned())
    }

    #[test]
    fn a_person_is_meant_unless_the_tenant_is_named() {
        let bob = Ok(ErasureScope::Subject { user_id: "bob".into() });
        assert_eq!(scope(r#"{"user_id":"bob"}"#), bob);
        assert_eq!(scope(r#"{"scope":"subject","user_id":"bob"}"#), bob);
        assert_eq!(scope(r#"{"scope":"org","org_id":"acme"}"#), Ok(ErasureScope::Org { org_id: "acme".into() }));
        for (body, field) in [
            ("{}", "user_id"),
            (r#"{"scope":"org"}"#, "org_id"),
            (r#"{"scope":"all","org_id":"acme"}"#, "scope"),
            (r#"{"scope":"org","org_id":"acme","user_id":"bob"}"#, "user_id"),
            (r#"{"user_id":"bob","org_id":"acme"}"#, "org_id"),
        ] {
            assert_eq!(scope(body), Err(field.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_step_says_in_the_log_what_it_is() {
        for (stage, action) in
            [("begin", "erasure.begun"), ("continue", "erasure.continued"), ("settle", "erasure.executed")]
        {
            let step = ComplianceEraseOrg { erasure_id: Uuid::nil(), stage: ErasureStage::Begin };
            let body = serde_json::to_string(&step).unwrap().replace("begin", stage);
            assert_eq!(ComplianceEraseOrg::parse(body.as_bytes()).unwrap().action(), action);
        }
    }
}
