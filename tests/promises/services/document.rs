//! Holds messages as they stand on the broker against the AsyncAPI document.

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use millrace_tests::{golden, schema_faults};
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
        found.extend(schema_faults(&document, place, schema, value));
    };
    check("properties", &message["x-amqp-properties"], &Value::Object(named));
    check("headers", &message["headers"], &Value::Object(headers));
    check("body", &message["payload"], &body);
    found
}

#[test]
fn the_asyncapi_document_is_that_of_the_contract() {
    let document = document();
    golden("deploy/asyncapi.json", &format!("{document:#}\n"));
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
    let dangling: Vec<&str> = references.filter(|pointer| document.pointer(pointer).is_none()).collect();
    assert_eq!(dangling, Vec::<&str>::new());
}

/// The control: the check sees what is wrong.
#[test]
fn a_message_that_is_not_in_the_document_is_told() {
    let properties = BasicProperties::default().with_type("projects.create".into());
    let found = faults(&properties, br#"{"name":7,"title":"x"}"#);
    for place in ["properties: required", "headers: required", "body.name: type", "body: additionalProperties"] {
        assert!(found.iter().any(|fault| fault.starts_with(place)), "{place}: {found:?}");
    }
}
