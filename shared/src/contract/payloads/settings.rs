//! Settings: a tenant's own preferences, each a name with a plain value.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::schema;
use crate::contract::object::shown;
use crate::contract::{Action, Event, Malformed, Object, Payload, Permission, is_clean};

/// Most settings of one command.
pub const MOST_SETTINGS: usize = 50;
const VALUE_BYTES: std::ops::RangeInclusive<usize> = 0..=500;
const NAME_LONGEST: usize = 64;

/// `settings.update`: sets what is named and removes what is null; the rest stays.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsUpdate {
    /// Names of `[a-z0-9_.]` with a text, a whole number, a truth value, or null.
    pub values: Map<String, Value>,
}

impl Payload for SettingsUpdate {
    const NAME: &'static str = "settings.update";
    const PERMISSION: Permission = Permission::new("settings", Action::Write);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let values = object.object("values")?;
        object.done()?;
        if values.is_empty() || values.len() > MOST_SETTINGS {
            return Err(Malformed::new("values", "must hold 1 to 50 settings"));
        }
        match values.iter().find(|(name, value)| !is_name(name) || !is_plain(value)) {
            None => Ok(Self { values }),
            Some((name, _)) => Err(Malformed::new(
                format!("values.{}", shown(name)),
                "must map [a-z0-9_.]{1,64} to a text of at most 500 bytes, a whole number, a truth value or null",
            )),
        }
    }

    fn schema() -> Value {
        let value = json!({ "type": ["string", "integer", "boolean", "null"], "maxLength": VALUE_BYTES.end() });
        let values = json!({
            "type": "object", "minProperties": 1, "maxProperties": MOST_SETTINGS,
            "propertyNames": { "pattern": "^[a-z0-9_.]{1,64}$" }, "additionalProperties": value,
        });
        schema::object(&[("values", values)])
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LONGEST).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b))
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => is_clean(text, VALUE_BYTES),
        Value::Number(_) | Value::Bool(_) | Value::Null => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// `settings.updated`: which settings changed; their values are read, not told.
#[derive(Debug, Clone, Serialize)]
pub struct SettingsUpdated {
    /// The names in the command, sorted.
    pub names: Vec<String>,
    /// The settings' version after the change, from 1.
    pub version: i64,
}

impl Event for SettingsUpdated {
    const NAME: &'static str = "settings.updated";

    fn schema() -> Value {
        schema::object(&[
            ("names", json!({ "type": "array", "items": { "type": "string" } })),
            ("version", json!({ "type": "integer", "minimum": 1 })),
        ])
    }
}
