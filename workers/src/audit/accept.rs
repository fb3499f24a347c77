//! Which messages of the audit queue may become lines.

use millrace::amqp::Delivered;
use millrace::auditlog::Entry;
use millrace::contract::{Keyring, MessageType};
use millrace::telemetry::fields;

/// The publisher of operators' acts.
const OPERATOR: &str = "operator";

/// Splits a batch into lines to append and the places of what is refused. A refused message goes to the dead-letter
/// queue, where a worker records it.
pub(super) fn accept(deliveries: &[Delivered], keyring: &Keyring) -> (Vec<Entry>, Vec<usize>) {
    let (mut entries, mut refused) = (Vec::with_capacity(deliveries.len()), Vec::new());
    for (place, delivered) in deliveries.iter().enumerate() {
        match entry(delivered, keyring) {
            Ok(entry) => entries.push(entry),
            Err(reason) => {
                metrics::counter!(fields::AUDIT_REFUSED, "reason" => reason).increment(1);
                tracing::warn!(reason, "a message on the audit queue was refused");
                refused.push(place);
            }
        }
    }
    (entries, refused)
}

fn entry(delivered: &Delivered, keyring: &Keyring) -> Result<Entry, &'static str> {
    if delivered.fault.is_some() {
        return Err("not_text");
    }
    let opened = keyring.open(&delivered.message).map_err(|fault| fault.code())?;
    opened.publisher.grant.covers(&opened.envelope).map_err(|_| "outside_grant")?;
    if opened.envelope.message_type != MessageType::audit_event() {
        return Err("other_type");
    }
    // One event has one text: what a producer would not have rendered so is no line.
    let entry = Entry::read(delivered.message.body.clone()).ok_or("no_line")?;
    let envelope = &opened.envelope;
    // The sealed fields and the line must tell the same story, or a grant could be stretched by the body.
    let same_tenant = envelope.org_id.as_ref().is_some_and(|org| org.as_str() == entry.org_id());
    let same_event = envelope.message_id.as_str() == entry.event_id().to_string();
    if !(same_tenant && same_event) {
        return Err("contradiction");
    }
    // A worker's key must not act in an operator's name: drop segments, lift holds, close tenants.
    let stolen = entry.is_by_operator() && opened.publisher.name.as_str() != OPERATOR;
    if stolen { Err("not_operators") } else { Ok(entry) }
}
