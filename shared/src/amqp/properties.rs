//! Between [`WireMessage`] and AMQP properties.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::contract::{Field, Timestamp, WireFault, WireMessage};

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Properties of a message to publish. `timestamp` and `app_id` are for people who look at queues; nobody
/// reads them back, since they lie outside the seal.
pub(super) fn write(message: &WireMessage) -> BasicProperties {
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let mut headers = FieldTable::default();
    for (field, value) in message.fields() {
        properties = match field {
            Field::MessageId => properties.with_message_id(value.into()),
            Field::Type => properties.with_type(value.into()),
            Field::ContentType => properties.with_content_type(value.into()),
            Field::CorrelationId => properties.with_correlation_id(value.into()),
            _ => {
                headers.insert(ShortString::from(field.name()), AMQPValue::LongString(value.into()));
                properties
            }
        };
    }
    if let Some(issued) = message.get(Field::IssuedAt).and_then(Timestamp::parse) {
        properties = properties.with_timestamp(u64::try_from(issued.unix()).unwrap_or(0));
    }
    if let Some(key_id) = message.get(Field::KeyId) {
        properties = properties.with_app_id(key_id.into());
    }
    properties.with_headers(headers)
}

/// Reads the fields of a delivery; headers that no field names, such as `x-death`, are left out.
pub(super) fn read(properties: &BasicProperties, body: Vec<u8>) -> (WireMessage, Option<WireFault>) {
    let mut message = WireMessage::new(body);
    let mut fault = None;
    let mut take = |field: Field, value: Option<String>| {
        let taken = value.ok_or(WireFault::NotText(field)).and_then(|value| message.set(field, value));
        // What lies outside the seal says nothing about the message, and is left out when it cannot be read.
        if let (Err(e), false) = (taken, matches!(field, Field::Lane | Field::Traceparent)) {
            fault.get_or_insert(e);
        }
    };
    let named = [
        (Field::MessageId, properties.message_id()),
        (Field::Type, properties.kind()),
        (Field::ContentType, properties.content_type()),
        (Field::CorrelationId, properties.correlation_id()),
    ];
    for (field, value) in named {
        if let Some(value) = value {
            take(field, Some(value.as_str().to_owned()));
        }
    }
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        if let Some(field) = Field::header(name.as_str()) {
            take(field, text(value));
        }
    }
    (message, fault)
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            values in proptest::collection::vec("[ -~]{0,60}", Field::ALL.len()),
            body in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut message = WireMessage::new(body.clone());
            for (field, value) in Field::ALL.into_iter().zip(values) {
                message.set(field, value).unwrap();
            }
            let (read, fault) = read(&write(&message), body);
            prop_assert_eq!(fault, None);
            prop_assert_eq!(read, message);
        }
    }

    #[test]
    fn a_header_that_is_no_text_is_named() {
        let mut headers = FieldTable::default();
        headers.insert("org_id".into(), AMQPValue::LongInt(7));
        headers.insert("seal".into(), AMQPValue::LongString(vec![0xff, 0xfe].into()));
        headers.insert("x-death".into(), AMQPValue::LongInt(7));
        let (message, fault) = read(&BasicProperties::default().with_headers(headers), Vec::new());
        assert_eq!(fault, Some(WireFault::NotText(Field::OrgId)));
        assert_eq!(message, WireMessage::default());
    }
}
