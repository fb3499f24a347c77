//! JSON Schema of the built-in payloads, in the few shapes they have.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// Bytes of a name for people.
pub(super) const NAME_BYTES: RangeInclusive<usize> = 1..=200;
/// Bytes of an id that an identity provider made.
pub(super) const USER_BYTES: RangeInclusive<usize> = 1..=128;
/// Bytes of an id that a billing provider made.
pub(super) const EXTERNAL_BYTES: RangeInclusive<usize> = 1..=200;

/// An object whose fields are all required, and which has no others.
pub(super) fn object(fields: &[(&str, Value)]) -> Value {
    object_with(fields, &[])
}

/// As [`object`], with fields that may be absent.
pub(super) fn object_with(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "additionalProperties": false, "required": names, "properties": properties })
}

/// A text of so many bytes. JSON Schema counts characters, of which there are at most as many.
pub(super) fn text(bytes: &RangeInclusive<usize>) -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": bytes.end(),
        "description": format!("At most {} bytes of UTF-8, without control characters.", bytes.end()),
    })
}

/// A UUID, lower-case and hyphenated.
pub(super) fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// One of a few words.
pub(super) fn word(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}
