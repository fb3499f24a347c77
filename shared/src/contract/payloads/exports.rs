//! Exports: a tenant's data, or one person's, page by page.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schema::{self, USER_BYTES};
use crate::contract::{Action, Callers, Gate, Malformed, Object, Payload, Permission};

const PERMISSION: Permission = Permission::new("compliance", Action::Export);
const SCOPE: &str = "scope";
const USER_ID: &str = "user_id";

/// `compliance.export`: everything of the tenant, or of one person of it, into one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceExport {
    /// The person, by its id with the identity provider; `None` for the whole tenant.
    pub person: Option<String>,
}

impl Payload for ComplianceExport {
    const NAME: &'static str = "compliance.export";
    const PERMISSION: Permission = PERMISSION;
    /// A tenant that is held back may take its data along.
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let whole = object.parsed(SCOPE, "must be \"org\" or \"subject\"", |scope| match scope {
            "org" => Some(true),
            "subject" => Some(false),
            _ => None,
        })?;
        let person = if whole { None } else { Some(object.text(USER_ID, USER_BYTES)?) };
        object.done()?;
        Ok(Self { person })
    }

    fn schema() -> Value {
        let user = schema::text(&USER_BYTES);
        json!({ "oneOf": [
            schema::object(&[(SCOPE, schema::word(&["org"]))]),
            schema::object(&[(SCOPE, schema::word(&["subject"])), (USER_ID, user)]),
        ] })
    }
}

/// `compliance.export_page`: the worker's own message, the next page of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComplianceExportPage {
    /// Which export.
    pub export_id: Uuid,
    /// How many pages there are before it.
    pub page: i32,
}

/// What a page left in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExportWritten {
    /// Rows of a table.
    Rows(WrittenRows),
    /// The manifest: there were no more rows.
    Manifest(WrittenManifest),
    /// Nothing: the export was over, and what its pages had left is deleted.
    Nothing,
}

/// A page of a table in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRows {
    /// Name in the archive.
    pub name: String,
    /// Name in the store.
    pub object: String,
    /// The table.
    pub place: String,
    /// Key of its last row, where the table has more of them.
    pub last_key: Option<Vec<String>>,
    /// Rows.
    pub rows: i64,
    /// Bytes.
    pub bytes: i64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The manifest in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenManifest {
    /// Name in the store.
    pub object: String,
    /// Bytes.
    pub bytes: i64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// The signed note about it.
    pub signature: String,
}

/// `compliance.export_written`: a page is in the store; what follows is decided with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComplianceExportWritten {
    /// Which export.
    pub export_id: Uuid,
    /// How many pages there are before it.
    pub page: i32,
    /// What was written.
    pub written: ExportWritten,
}

/// `compliance.expire_export`: the worker's own message, which comes due when an export is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComplianceExpireExport {
    /// Which export.
    pub export_id: Uuid,
}

/// `compliance.export_expired`: nothing of an export is in the store any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComplianceExportExpired {
    /// Which export.
    pub export_id: Uuid,
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::new("body", "is no step of an export"))
}

fn numbered() -> [(&'static str, Value); 2] {
    [("export_id", schema::uuid()), ("page", json!({ "type": "integer", "minimum": 0 }))]
}

impl Payload for ComplianceExportPage {
    const NAME: &'static str = "compliance.export_page";
    const PERMISSION: Permission = PERMISSION;
    const CALLERS: Callers = Callers::System;
    /// What was asked for before a tenant was closed, or by an operator after it, goes on.
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read(body)
    }

    fn schema() -> Value {
        schema::object(&numbered())
    }
}

impl Payload for ComplianceExportWritten {
    const NAME: &'static str = "compliance.export_written";
    const PERMISSION: Permission = PERMISSION;
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read(body)
    }

    fn schema() -> Value {
        let [id, page] = numbered();
        schema::object(&[id, page, ("written", json!({ "type": ["object", "string"] }))])
    }
}

impl Payload for ComplianceExpireExport {
    const NAME: &'static str = "compliance.expire_export";
    const PERMISSION: Permission = PERMISSION;
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read(body)
    }

    fn schema() -> Value {
        schema::object(&[("export_id", schema::uuid())])
    }
}

impl Payload for ComplianceExportExpired {
    const NAME: &'static str = "compliance.export_expired";
    const PERMISSION: Permission = PERMISSION;
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Always;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        read(body)
    }

    fn schema() -> Value {
        schema::object(&[("export_id", schema::uuid())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_scope_and_a_person_exactly_where_there_is_one() {
        let read = |body: &str| ComplianceExport::parse(body.as_bytes()).map(|asked| asked.person);
        assert_eq!(read(r#"{"scope":"org"}"#), Ok(None));
        assert_eq!(read(r#"{"scope":"subject","user_id":"bob"}"#), Ok(Some("bob".to_owned())));
        let wrong =
            [r#"{}"#, r#"{"scope":"all"}"#, r#"{"scope":"subject"}"#, r#"{"scope":"org","user_id":"bob"}"#, r#"[]"#];
        for body in wrong {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
