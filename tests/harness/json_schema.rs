//! Holds JSON against the schemas of the committed documents.

use serde_json::{Map, Value, json};

/// Every way in which a value differs from a schema of the document.
///
/// # Panics
/// When the schema has a keyword that is not known here, so that nothing passes unseen.
pub fn schema_faults(document: &Value, place: &str, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { document, found: &mut found }.value(place, schema, value);
    found
}

/// The part of JSON Schema that the document uses; a keyword beyond it panics, so that nothing passes unseen.
struct Check<'a> {
    document: &'a Value,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn value(&mut self, place: &str, schema: &Value, value: &Value) {
        for (keyword, wanted) in schema.as_object().expect("a schema") {
            let holds = match keyword.as_str() {
                "$ref" => {
                    let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference");
                    let referred = self.document.pointer(pointer).expect("what is referred to");
                    self.value(place, referred, value);
                    true
                }
                "allOf" => {
                    wanted.as_array().expect("schemas").iter().for_each(|schema| self.value(place, schema, value));
                    true
                }
                "properties" => {
                    for (name, schema) in wanted.as_object().expect("properties") {
                        if let Some(value) = value.get(name) {
                            self.value(&format!("{place}.{name}"), schema, value);
                        }
                    }
                    true
                }
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(&format!("{place}[{number}]"), wanted, item);
                    }
                    true
                }
                "additionalProperties" => {
                    assert_eq!(wanted, &json!(false), "only closed objects are known here");
                    let names = value.as_object().into_iter().flat_map(Map::keys);
                    names.into_iter().all(|name| schema["properties"].get(name).is_some())
                }
                keyword => plain(keyword, wanted, value),
            };
            if !holds {
                self.found.push(format!("{place}: {keyword} {wanted}, but {value}"));
            }
        }
    }
}

fn plain(keyword: &str, wanted: &Value, value: &Value) -> bool {
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    match keyword {
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|one| is_of(one, value)),
            one => is_of(one, value),
        },
        "description" => true,
        "required" => wanted.as_array().expect("names").iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "enum" => wanted.as_array().expect("values").contains(value),
        "const" => wanted == value,
        "minLength" => length() >= wanted.as_u64(),
        "maxLength" => length() <= wanted.as_u64(),
        "maximum" => value.as_i64() <= wanted.as_i64(),
        "minimum" => value.as_i64() >= wanted.as_i64(),
        // A null has no format; whether it may be one says the type.
        "format" if value.is_null() => true,
        "format" => match wanted.as_str().expect("a format") {
            "uuid" => value.as_str().is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()),
            "date-time" => value.as_str().and_then(millrace::contract::Timestamp::parse).is_some(),
            other => panic!("format {other}"),
        },
        other => panic!("keyword {other}"),
    }
}

fn is_of(one: &Value, value: &Value) -> bool {
    match one.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    }
}
