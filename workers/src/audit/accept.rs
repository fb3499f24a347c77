//! Which messages of the audit queue may become lines.

use millrace::amqp::Delivered;
use millrace::auditlog::Entry;
use millrace::contract::{AuditEvent, Keyring, MessageType};
use millrace::telemetry::fields;

/// Splits a batch into lines to append and the places of what is refused. A refused message goes to the dead-letter
/// queue, where a worker records it.
pub(super) fn accept(deliveries: &[Delivered], keyring: &Keyring) -> (Vec<Entry>, Vec<usize>) {
    let (mut entries, mut refused) = (Vec::new(), Vec::new());
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
    let line = delivered.message.body.clone();
    let event = AuditEvent::parse(&line).map_err(|_| "no_line")?;
    // One event has one text, so that a line can be found by its bytes.
    if event.render().ok().as_ref() != Some(&line) {
        return Err("no_line");
    }
    let envelope = &opened.envelope;
    // The sealed fields and the line must tell the same story, or a grant could be stretched by the body.
    let same_tenant = envelope.org_id.as_ref().is_some_and(|org| org.as_str() == event.org_id);
    let same_event = envelope.message_id.as_str() == event.event_id.to_string();
    if same_tenant && same_event { Ok(Entry { event, line }) } else { Err("contradiction") }
}
