//! Holds messages as they stand on the broker against the AsyncAPI document.

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::{Map, Value, json};

/// The document that the contract of Millrace itself gives.
pub(super) fn document() -> Value {
    millrace_cli::asyncapi(&millrace::builtin().check().expect("a contract"))
}

/// Every way in which a message differs from the document; its type says which message it claims to be.
pub(super) fn faults(properties: &BasicProperties, body: &[u8]) -> Vec<String> {
    let document = document();
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|text| json!(text.as_str()));
    let name = properties.kind().as_ref().map(ToString::to_string).unwrap_or_default();
    let Some(message) = document["components"]["messages"].get(&name) else {
        return vec![format!("{name:?} is not in the document")];
    };
    let named = [
        ("message_id", text(properties.message_id())),
        ("type", text(properties.kind())),
        ("content_type", text(properties.content_type())),
        ("correlation_id", text(properties.correlation_id())),
    ];
    let named: Map<String, Value> =
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let mut headers = Map::new();
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        if let AMQPValue::LongString(value) = value {
            headers.insert(name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let mut found = Vec::new();
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut check = |place: &str, schema: &Value, value: &Value| {
        Check { document: &document, found: &mut found }.value(place, schema, value);
    };
    check("properties", &message["x-amqp-properties"], &Value::Object(named));
    check("headers", &message["headers"], &Value::Object(headers));
    check("body", &message["payload"], &body);
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
        "type" => match wanted.as_str().expect("one type") {
            "object" => value.is_object(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            other => panic!("type {other}"),
        },
        "required" => wanted.as_array().expect("names").iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "enum" => wanted.as_array().expect("values").contains(value),
        "const" => wanted == value,
        "minLength" => length() >= wanted.as_u64(),
        "maxLength" => length() <= wanted.as_u64(),
        "minimum" => value.as_i64() >= wanted.as_i64(),
        "format" => match wanted.as_str().expect("a format") {
            "uuid" => value.as_str().is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()),
            "date-time" => value.as_str().and_then(millrace::contract::Timestamp::parse).is_some(),
            other => panic!("format {other}"),
        },
        other => panic!("keyword {other}"),
    }
}
