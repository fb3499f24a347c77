//! Billing state is a function of the events, not of their order or of who applies them beside whom.

use millrace_tests::{Left, Sample, World, reorder};

/// Transactions that wait for a lock somebody else holds.
const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and usename = 'millrace_app' and wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread")]
async fn access_is_what_the_rows_say_when_two_workers_apply_events_of_one_tenant_side_by_side() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let workers = ["millrace-billing", "millrace-billing", "millrace-relay", "millrace-audit"];
    let others = workers.map(|program| world.start(program));
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let mut unpaid = world.invoice_event("cus_1");
    unpaid.event_type = "invoice.payment_failed".to_owned();
    // Both workers are held at the tenant's row with their own invoice written and the other's not committed: whoever
    // does not wait its turn decides without the other's invoice.
    let mut gate = world.superuser().begin().await.expect("a transaction");
    sqlx::query("select from app.access where org_id = 'acme' for update").execute(&mut *gate).await.expect("the row");
    world.accept(&url, &unpaid).await;
    world.until_count(WAITING, 1).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_count(WAITING, 2).await;
    gate.commit().await.expect("a commit");
    world.until_lines("applied", 3).await;
    assert_eq!(world.count("select count(*) from app.access where level = 'grace'").await, 1);
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
        reorder(&mut events, order);
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
