//! Stripe's events, old and new shapes.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn event(kind: &str, object: serde_json::Value) -> Vec<u8> {
    json!({ "id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "livemode": false,
            "data": { "object": object } })
    .to_string()
    .into_bytes()
}

fn invoice_of(extra: serde_json::Value) -> InvoiceChange {
    let mut object = json!({ "id": "in_1", "customer": "cus_1", "amount_due": 900, "amount_paid": 900,
                             "currency": "eur" });
    object.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    match StripeEvent::parse(&event("invoice.payment_succeeded", object)).unwrap().change {
        Some(StripeChange::Invoice(invoice)) => invoice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_subscription_of_an_invoice_is_found_in_both_shapes() {
    let basil = json!({ "parent": { "type": "subscription_details",
        "subscription_details": { "subscription": "sub_1" } } });
    for shape in [basil, json!({ "subscription": "sub_1" }), json!({ "subscription": { "id": "sub_1" } })] {
        assert_eq!(invoice_of(shape).subscription.as_deref(), Some("sub_1"));
    }
    assert_eq!(invoice_of(json!({ "parent": null })).subscription, None);
}

#[test]
fn the_period_end_is_found_in_both_shapes() {
    let old = json!({ "id": "sub_1", "customer": "cus_1", "status": "active",
        "current_period_end": 1_800_000_000, "items": { "data": [{ "plan": { "id": "price_1" } }] } });
    let new = json!({ "id": "sub_1", "customer": { "id": "cus_1" }, "status": "active",
        "items": { "data": [{ "price": { "id": "price_1" }, "current_period_end": 1_800_000_000 }] } });
    for object in [old, new] {
        let body = event("customer.subscription.updated", object);
        let Some(StripeChange::Subscription(sub)) = StripeEvent::parse(&body).unwrap().change else {
            panic!("no subscription")
        };
        assert_eq!(sub.period_end, Timestamp::from_unix(1_800_000_000));
        assert_eq!((sub.customer.as_str(), sub.plan.as_deref()), ("cus_1", Some("price_1")));
    }
}

#[test]
fn thin_events_and_strange_types_are_unhandled_not_malformed() {
    let thin = json!({ "id": "evt_2", "object": "v2.core.event", "type": "v2.core.account[configuration.recipient].capability_status_updated",
        "created": "2026-01-01T00:00:00Z", "related_object": { "id": "x" } });
    let event = StripeEvent::parse(thin.to_string().as_bytes()).unwrap();
    assert_eq!(event.tenancy(), Tenancy::Unhandled);
}

#[test]
fn a_handled_type_without_its_object_is_malformed() {
    let body = event("invoice.payment_failed", json!({ "id": "in_1" }));
    assert_eq!(StripeEvent::parse(&body).unwrap_err().field, "data.object");
    let nul = event(
        "invoice.payment_failed",
        json!({ "id": "in\0", "customer": "c", "amount_due": 0,
        "amount_paid": 0, "currency": "eur" }),
    );
    assert_eq!(StripeEvent::parse(&nul).unwrap_err().field, "data.object.id");
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
        let _ = StripeEvent::parse(&bytes);
        let _ = StripeEvent::read(text.as_bytes());
    }
}
