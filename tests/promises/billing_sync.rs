//! What an outage has kept from us is fetched from the provider and takes the normal road; what has drifted is told.

use std::process::Output;

use millrace_tests::{Left, Sample, StripeStandIn, World, run_cli};
use serde_json::{Value, json};

/// Runs `millrace --json billing ..`; returns its exit code and its lines.
async fn billing(world: &World, stripe: &StripeStandIn, url: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut environment = [world.environment(), stripe.variables()].concat();
    environment.push(("MILLRACE_HTTP_URL".to_owned(), url.to_owned()));
    environment.push(("MILLRACE_STRIPE_SECRET".to_owned(), "whsec_first".to_owned()));
    let arguments = [&["--json", "billing"], arguments].concat();
    let Output { status, stdout, .. } = run_cli(&arguments, &environment).await;
    let text = String::from_utf8(stdout).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    (status.code().expect("an exit code"), lines)
}

fn json_of(sample: &Sample) -> Value {
    serde_json::from_slice(&sample.body()).expect("an event")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_could_not_deliver_is_applied_once_and_what_was_delivered_is_a_duplicate() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    // Seven events, three a page: the first two have arrived.
    let events: Vec<Sample> = (0..7).map(|_| world.invoice_event("cus_1")).collect();
    for (place, event) in events.iter().enumerate() {
        stripe.has_event(json_of(event), place < 2);
    }
    for event in &events[..2] {
        world.accept(&url, event).await;
    }
    world.until_lines("applied", 2).await;
    // Too old to be asked for.
    let mut old = world.invoice_event("cus_1");
    old.created -= 40 * 24 * 3_600;
    stripe.has_event(json_of(&old), false);

    let (code, lines) = billing(&world, &stripe, &url, &["sync", "--undelivered", "--dry-run"]).await;
    let told = lines.last().expect("a line");
    assert_eq!((code, &told["found"], &told["sent"]), (0, &json!(5), &json!(0)), "{lines:?}");
    assert_eq!(told["types"], json!({ "invoice.payment_succeeded": 5 }));
    stripe.is_in_trouble(429, Some(("retry-after", "0".to_owned())));
    let (code, lines) = billing(&world, &stripe, &url, &["sync"]).await;
    assert_eq!((code, &lines.last().expect("a line")["sent"]), (0, &json!(7)), "{lines:?}");
    world.until_lines("applied", 7).await;
    let (code, _) = billing(&world, &stripe, &url, &["sync", "--undelivered"]).await;
    assert_eq!(code, 0);
    // An event of another mode: the endpoint never takes it.
    let mut live = world.invoice_event("cus_1");
    live.livemode = true;
    stripe.has_event(json_of(&live), false);
    let (code, lines) = billing(&world, &stripe, &url, &["sync", "--undelivered"]).await;
    assert_eq!(code, 65);
    assert_eq!(lines[0]["refused"], live.id);
    assert_eq!(world.count("select count(*) from app.billing_history").await, 7);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_without_a_key_or_an_ingress_says_what_to_do() {
    let world = World::new().await;
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let stripe = StripeStandIn::start().await;
    stripe.is_in_trouble(401, None);
    let (code, lines) = billing(&world, &stripe, "http://127.0.0.1:1", &["sync", "--dry-run"]).await;
    assert_eq!(code, 70);
    assert!(lines[0]["error"].as_str().is_some_and(|text| text.contains("does not accept the key")), "{lines:?}");
    let environment = world.environment();
    let output = run_cli(&["--json", "billing", "reconcile"], &environment).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("billing.api.secret_key_file"), "{said}");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_finds_every_kind_of_drift_and_none_where_there_is_none() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    let mut applied = 0;
    for id in ["sub_1", "sub_2", "sub_3", "sub_4", "sub_5"] {
        let mut event = world.invoice_event("cus_1");
        event.event_type = "customer.subscription.created".to_owned();
        event.subscription = id.to_owned();
        world.accept(&url, &event).await;
        stripe.has_subscription(json_of(&event)["data"]["object"].clone());
        applied += 1;
    }
    world.until_lines("applied", applied).await;
    let (code, lines) = billing(&world, &stripe, &url, &["reconcile"]).await;
    let told = lines.last().expect("a line");
    assert_eq!((code, &told["compared"], &told["drift"]), (0, &json!(5), &json!(0)), "{lines:?}");

    world
        .execute(
            "update app.subscriptions set status = 'past_due' where subscription_id = 'sub_1';
             update app.subscriptions set plan = 'price_old' where subscription_id = 'sub_2';
             update app.subscriptions set period_end = now() where subscription_id = 'sub_3';
             update app.subscriptions set needs_refetch = true where subscription_id = 'sub_4';
             update app.subscriptions set subscription_id = 'sub_ours' where subscription_id = 'sub_5'",
        )
        .await;
    let mut stranger = world.invoice_event("cus_nobody");
    stranger.event_type = "customer.subscription.created".to_owned();
    stranger.subscription = "sub_6".to_owned();
    stripe.has_subscription(json_of(&stranger)["data"]["object"].clone());
    let file = world.config_path().with_file_name("billing.prom");
    let metrics = file.to_str().expect("a path").to_owned();
    let (code, lines) = billing(&world, &stripe, &url, &["reconcile", "--metrics", &metrics]).await;
    assert_eq!(code, 65);
    let mut kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["absent", "missing", "period_end", "plan", "status", "unlinked", "waiting"]);
    let text = std::fs::read_to_string(file).expect("metrics");
    assert_eq!(text.lines().filter(|line| line.ends_with(" 1")).count(), 7, "{text}");
    assert!(text.contains("millrace_billing_drift_total{kind=\"status\"} 1"), "{text}");
    world.finish(Left::default()).await;
    drop(programs);
}
