//! Billing state is a function of the events, not of their order or of who applies them beside whom.

use millrace_tests::{Left, Sample, World};
use rand::seq::SliceRandom;

const TENANTS: usize = 12;
const INVOICES: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn access_is_what_the_rows_say_when_events_of_one_tenant_are_applied_side_by_side() {
    let world = World::new().await;
    let mut events = Vec::new();
    for n in 0..TENANTS {
        let customer = format!("cus_{n}");
        world.tenant(&format!("org_{n}"), &customer).await;
        // One invoice stays unpaid, the others are paid, so the last word is grace.
        for invoice in 0..INVOICES {
            let mut event = world.invoice_event(&customer);
            if invoice == 0 {
                event.event_type = "invoice.payment_failed".to_owned();
            }
            events.push(event);
        }
    }
    events.shuffle(&mut rand::rng());
    let (ingress, url) = world.start_ingress().await;
    for event in &events {
        world.accept(&url, event).await;
    }
    let workers = ["millrace-billing", "millrace-billing", "millrace-relay", "millrace-audit"];
    let others = workers.map(|program| world.start(program));
    world.until_lines("applied", events.len()).await;
    world.until_count("select count(*) from app.access where level = 'grace'", TENANTS as i64).await;
    world.finish(Left::default()).await;
    drop((ingress, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_in_the_same_state_in_every_order_of_its_events() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let trace = |name: &str| -> Vec<Sample> {
        let steps = [
            ("created", "incomplete", 0),
            ("updated", "active", 0),
            ("updated", "past_due", 60),
            ("deleted", "canceled", 60),
        ];
        steps
            .into_iter()
            .map(|(step, status, later)| {
                let mut event = world.invoice_event("cus_1");
                event.event_type = format!("customer.subscription.{step}");
                event.subscription = name.to_owned();
                event.status = status.to_owned();
                event.created += later;
                event
            })
            .collect()
    };
    let mut sent = 0;
    for order in 0..24 {
        let mut events = trace(&format!("sub_{order}"));
        let mut rest = order;
        for place in (1..=4).rev() {
            // The factorial number system: each order once.
            events[..place].rotate_left(rest % place);
            rest /= place;
        }
        for event in &events {
            world.accept(&url, event).await;
            sent += 1;
        }
    }
    world.until_lines("applied", sent).await;
    assert_eq!(world.count("select count(*) from app.subscriptions where status = 'canceled'").await, 24);
    assert_eq!(world.count("select count(*) from app.access where level = 'suspended'").await, 1);
    world.finish(Left::default()).await;
    drop(programs);
}
