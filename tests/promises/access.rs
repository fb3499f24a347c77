//! Access follows what is owed and since when, by the stored dates; time alone moves it, by messages sealed when due.

use millrace_tests::{Caller, Left, World};
use serde_json::{Value, json};

/// Level of the tenant.
fn level(level: &str) -> String {
    format!("select count(*) from app.access where org_id = 'acme' and level = '{level}'")
}

/// So many days pass: what is stored is that much older, and what waits for its time is nearer.
async fn days_pass(world: &World, days: u32) {
    world
        .execute(&format!(
            "update app.invoices set unpaid_since = unpaid_since - interval '{days} days';
             update engine.due set due_at = due_at - interval '{days} days'"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unpaid_leads_from_grace_to_suspension_and_a_payment_back() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    world.listen("changes", "billing.access_changed").await;
    let (programs, url) = world.start_all_workers().await;
    let mut unpaid = world.invoice_event("cus_1");
    unpaid.event_type = "invoice.payment_failed".to_owned();
    world.accept(&url, &unpaid).await;
    world.until_count(&level("grace"), 1).await;
    let due = "select count(*) from engine.due where org_id = 'acme' and message_type = 'billing.review_access'";
    world.until_count(due, 1).await;
    // A week: reviewed, and still grace. Another: look, pay, leave.
    days_pass(&world, 8).await;
    let next =
        "select count(*) from engine.due where due_at between now() + interval '5 days' and now() + interval '7 days'";
    world.until_count(next, 1).await;
    assert_eq!(world.count(&level("grace")).await, 1);
    days_pass(&world, 7).await;
    world.until_count(&level("read_only"), 1).await;
    let caller = Caller::user("acme", "u1", "editor");
    let made = world.command(&url, &caller, "projects.create", "k1", &json!({ "name": "p" })).await;
    assert_eq!(world.outcome("acme", &made).await, "rejected:access_read_only");
    days_pass(&world, 16).await;
    world.until_count(&level("suspended"), 1).await;
    // Nothing changes by time alone any more.
    assert_eq!(world.count(due).await, 0);
    let paid =
        millrace_tests::Sample { id: "evt_paid".to_owned(), event_type: "invoice.paid".to_owned(), ..unpaid.clone() };
    world.accept(&url, &paid).await;
    world.until_count(&level("full"), 1).await;
    let made = world.command(&url, &caller, "projects.create", "k2", &json!({ "name": "p" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    assert_eq!(world.depth("changes").await, 4, "grace, read_only, suspended, full");
    let (properties, body) = world.peek("changes").await.expect("an event");
    let body: Value = serde_json::from_slice(&body).expect("an event");
    assert_eq!(body, json!({ "level": "grace", "was": "full" }), "{properties:?}");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_says_which_level_applies_from_which_day_and_an_override_goes_before_it() {
    let mut world = World::new().await;
    world.set("MILLRACE__BILLING__ACCESS__0", "read_only");
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let mut unpaid = world.invoice_event("cus_1");
    unpaid.event_type = "invoice.payment_failed".to_owned();
    world.accept(&url, &unpaid).await;
    world.until_count(&level("read_only"), 1).await;
    assert_eq!(world.count("select count(*) from engine.due").await, 0, "there is one threshold");
    let service = Caller::service("acme", "desk", "admin");
    let until = time::OffsetDateTime::now_utc() + time::Duration::days(3);
    let until = until.format(&time::format_description::well_known::Rfc3339).expect("a time");
    let by_hand = json!({ "level": "full", "until": until });
    let overridden = world.command(&url, &service, "billing.override_access", "k1", &by_hand).await;
    assert_eq!(world.outcome("acme", &overridden).await, "applied");
    assert_eq!(world.count(&level("full")).await, 1);
    world.execute("update app.access set override_until = now(); update engine.due set due_at = now()").await;
    world.until_count(&level("read_only"), 1).await;
    let back = json!({ "level": "rule" });
    let ended = world.command(&url, &service, "billing.override_access", "k2", &back).await;
    assert_eq!(world.outcome("acme", &ended).await, "applied");
    let person = Caller::user("acme", "u1", "admin");
    let sealed = world.sealed(&person, "billing.override_access", "k3", &back);
    world.enqueue("billing", &sealed).await;
    world.until_lines("denied", 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}
