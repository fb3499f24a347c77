//! What an event proves, and for whom: no more than it says, and for the account and mode that it came from.

use millrace_tests::{Caller, Left, Sample, StripeStandIn, World};
use serde_json::{Value, json};

/// Level of the tenant.
fn level(org: &str, level: &str) -> String {
    format!("select count(*) from app.access where org_id = '{org}' and level = '{level}'")
}

/// A sample of a type with its object as the test wants it.
fn changed(sample: &Sample, event_type: &str, changes: &Value) -> Vec<u8> {
    let sample = Sample { event_type: event_type.to_owned(), ..sample.clone() };
    let mut event: Value = serde_json::from_slice(&sample.body()).expect("an event");
    let object = event["data"]["object"].as_object_mut().expect("an object");
    object.extend(changes.as_object().expect("changes").clone());
    event.to_string().into_bytes()
}

/// Why the newest rejected message was.
fn rejected(world: &World) -> Value {
    let lines = world.lines();
    let line = lines.iter().rev().find(|line| line["outcome"] == "rejected");
    line.map(|line| line["metadata"]["code"].clone()).unwrap_or_default()
}

async fn post(world: &World, url: &str, body: Vec<u8>) {
    assert_eq!(world.post(url, body).await.expect("an answer").status, 200);
}

fn subscription(world: &World, event_type: &str, status: &str, ago: i64) -> Sample {
    let mut event = world.invoice_event("cus_1");
    event.event_type = format!("customer.subscription.{event_type}");
    event.status = status.to_owned();
    event.created -= ago;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_proves_no_more_than_it_says() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    // A status that nobody knows is told and changes nothing.
    world.accept(&url, &subscription(&world, "created", "hibernating", 90)).await;
    world.until_lines("rejected", 1).await;
    assert_eq!(rejected(&world), "unknown_subscription_status");
    assert_eq!(world.count("select count(*) from app.subscriptions").await, 0);

    world.accept(&url, &subscription(&world, "created", "past_due", 80)).await;
    world.until_count(&level("acme", "grace"), 1).await;
    // An invoice over nothing is settled, and is no payment.
    let nothing = world.invoice_event("cus_1");
    let over_nothing = json!({ "amount_due": 0, "amount_paid": 0 });
    post(&world, &url, changed(&nothing, "invoice.payment_succeeded", &over_nothing)).await;
    world.until_lines("applied", 2).await;
    assert_eq!(world.count("select count(*) from app.invoices where status = 'paid' and paid_at is null").await, 1);
    assert_eq!(world.count(&level("acme", "grace")).await, 1, "nothing was paid");
    // A payment clears it.
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_count(&level("acme", "full"), 1).await;

    // An event may be older than the object that it shows: that is paid, whatever failed before.
    let late = world.invoice_event("cus_1");
    post(&world, &url, changed(&late, "invoice.payment_failed", &json!({ "status": "paid", "amount_paid": 2_900 })))
        .await;
    world.until_lines("applied", 4).await;
    let unpaid = "select count(*) from app.invoices where unpaid_since is not null or status <> 'paid'";
    assert_eq!((world.count(unpaid).await, world.count(&level("acme", "full")).await), (0, 1));
    let further = world.invoice_event("cus_1");
    post(&world, &url, changed(&further, "invoice.updated", &json!({ "status": "void" }))).await;
    world.until_count("select count(*) from app.invoices where status = 'void'", 1).await;
    // In part is not in full: there is no fee of it yet.
    let part = world.invoice_event("cus_1");
    let in_part = json!({ "amount_due": 2_900, "amount_paid": 900 });
    post(&world, &url, changed(&part, "invoice.payment_succeeded", &in_part)).await;
    world.until_lines("applied", 6).await;
    let fee = format!("select count(*) from app.fee_ledger where invoice_id = '{}'", part.invoice);
    assert_eq!(world.count(&fee).await, 0, "a fee of what is not paid in full");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_for_the_tenant_of_its_account_and_mode_and_the_provider_is_asked_in_that_account() {
    let mut world = World::new().await;
    world.set("MILLRACE__SOURCES__STRIPE__LIVEMODE", "any");
    for org in ["acme", "globex", "initech"] {
        world.cli(&["tenants", "create", org]).await;
    }
    world.cli(&["tenants", "link", "acme", "--customer", "cus_1", "--account", "acct_1"]).await;
    world.cli(&["tenants", "link", "globex", "--customer", "cus_1"]).await;
    world.cli(&["tenants", "link", "initech", "--customer", "cus_1", "--live"]).await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    let tied = ["past_due", "active"]
        .map(|status| Sample { account: Some("acct_1".to_owned()), ..subscription(&world, "updated", status, 50) });
    let object: Value = serde_json::from_slice(&tied[1].body()).expect("an event");
    stripe.has_subscription(object["data"]["object"].clone());
    let provider = world.start_with("millrace-provider", &stripe.variables());
    for event in &tied {
        world.accept(&url, event).await;
    }
    let live = Sample { livemode: true, ..world.invoice_event("cus_1") };
    for event in [world.invoice_event("cus_1"), live] {
        world.accept(&url, &event).await;
    }
    world.until_count("select count(*) from app.subscriptions where org_id = 'acme' and source = 'refetch'", 1).await;
    assert_eq!(stripe.asked()[0].account, "acct_1");
    world.until_lines("applied", 6).await;
    let rows = |org: &str| format!("select count(*) from app.invoices where org_id = '{org}'");
    assert_eq!(
        (world.count(&rows("acme")).await, world.count(&rows("globex")).await, world.count(&rows("initech")).await),
        (0, 1, 1)
    );
    world.finish(Left::default()).await;
    drop((programs, provider));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tie_that_is_settled_meanwhile_is_no_question_and_what_is_over_overrides_nothing() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    let second = time::OffsetDateTime::now_utc().unix_timestamp() - 60;
    for status in ["past_due", "active"] {
        let event = Sample { created: second, ..subscription(&world, "updated", status, 0) };
        world.accept(&url, &event).await;
    }
    world.until_count("select count(*) from app.subscriptions where needs_refetch", 1).await;
    let later = Sample { created: second + 9, ..subscription(&world, "updated", "active", 0) };
    world.accept(&url, &later).await;
    world.until_count("select count(*) from app.subscriptions where needs_refetch", 0).await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    world.until_lines("rejected", 1).await;
    assert_eq!(rejected(&world), "refetch_not_needed");
    assert_eq!(stripe.asked().len(), 0, "the provider was asked for nothing");
    let service = Caller::service("acme", "desk", "admin");
    let over = json!({ "level": "suspended", "until": "2026-01-01T00:00:00Z" });
    let overridden = world.command(&url, &service, "billing.override_access", "k1", &over).await;
    assert_eq!(world.outcome("acme", &overridden).await, "rejected:override_over");
    world.until_lines("rejected", 2).await;
    world.finish(Left::default()).await;
    drop((programs, provider));
}
