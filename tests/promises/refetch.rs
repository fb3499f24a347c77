//! What two events of one second leave open, the provider is asked: by a call that holds no transaction, is made again
//! after a crash, and is applied once.

mod away;

use std::sync::LazyLock;

use millrace_tests::{Left, Program, Sample, StripeStandIn, World, eventually, reorder};
use serde_json::{Value, json};

/// Questions about which somebody still has to be asked.
const OPEN: &str = "select count(*) from app.subscriptions where needs_refetch";
/// Rows of answers that were taken over.
const ANSWERS: &str = "select count(*) from app.billing_history where event_type = 'billing.refetched'";

fn event(world: &World, subscription: &str, step: &str, status: &str, second: i64) -> Sample {
    let mut event = world.invoice_event("cus_1");
    event.event_type = format!("customer.subscription.{step}");
    event.subscription = subscription.to_owned();
    event.status = status.to_owned();
    event.created = *BEGAN + second;
    event
}

/// The second in which events begin.
static BEGAN: LazyLock<i64> = LazyLock::new(|| time::OffsetDateTime::now_utc().unix_timestamp() - 100);

/// The provider's object as the newest event shows it.
fn object(event: &Sample) -> Value {
    let body: Value = serde_json::from_slice(&event.body()).expect("an event");
    body["data"]["object"].clone()
}

/// Two events of one second that disagree.
async fn tie(world: &World, url: &str, subscription: &str) {
    for status in ["past_due", "active"] {
        world.accept(url, &event(world, subscription, "updated", status, 9)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_says_which_of_two_events_of_one_second_came_last() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    let (programs, url) = world.start_all().await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    tie(&world, &url, "sub_1").await;
    world.until_count(ANSWERS, 1).await;
    let settled = "select count(*) from app.subscriptions where status = 'active' and source = 'refetch'
                   and not needs_refetch";
    assert_eq!(world.count(settled).await, 1);
    let asked = stripe.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].target, "/v1/subscriptions/sub_1");
    assert_eq!((asked[0].version.as_str(), asked[0].account.as_str()), ("2025-08-27.basil", ""));
    assert_eq!(asked[0].authorization, "Bearer rk_test_stand_in");
    // Two events, the question, its answer.
    world.until_lines("applied", 4).await;
    world.finish(Left::default()).await;
    drop((programs, provider));
}

#[tokio::test(flavor = "multi_thread")]
async fn six_events_with_duplicates_end_in_the_same_state_in_every_order() {
    const ORDERS: usize = 24;
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    let steps = [
        ("created", "incomplete", 0),
        ("updated", "active", 0),
        ("updated", "past_due", 3),
        ("updated", "active", 5),
        ("updated", "past_due", 9),
        ("updated", "active", 9),
    ];
    for sample in 0..ORDERS {
        let subscription = format!("sub_{sample}");
        let mut events = steps.map(|(step, status, second)| event(&world, &subscription, step, status, second));
        stripe.has_subscription(object(&events[5]));
        // Every thirty-first order of all 720.
        reorder(&mut events, sample * 31);
        for event in events.iter().chain(&events[..3]) {
            world.accept(&url, event).await;
        }
    }
    let seen = "select count(*) from app.billing_history where event_type <> 'billing.refetched'";
    world.until_count(seen, i64::try_from(ORDERS * steps.len()).expect("a count")).await;
    world.until_count(OPEN, 0).await;
    let states = "select count(distinct (status, plan, period_end, status_since, last_created)) from app.subscriptions";
    assert_eq!(world.count(states).await, 1);
    let right = "select count(*) from app.subscriptions where status = 'active' and status_since = last_created";
    assert_eq!(world.count(right).await, i64::try_from(ORDERS).expect("a count"));
    world.finish(Left::default()).await;
    drop((programs, provider));
}

/// Waits until the provider was asked so often.
async fn until_asked(stripe: &StripeStandIn, times: usize) {
    eventually("the provider is asked", async || (stripe.asked().len() >= times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_holds_no_transaction_and_a_drain_does_not_wait_for_it() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    stripe.hold(true);
    let (programs, url) = world.start_all().await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    tie(&world, &url, "sub_1").await;
    until_asked(&stripe, 1).await;
    let held = "select count(*) from pg_stat_activity where datname = current_database()
                and usename = 'millrace_app' and xact_start is not null and state <> 'active'";
    world.until_count(held, 0).await;
    assert_eq!(provider.terminate().await, 0);
    assert_eq!(world.count(ANSWERS).await, 0);
    stripe.hold(false);
    let successor = world.start_with("millrace-provider", &stripe.variables());
    world.until_count(ANSWERS, 1).await;
    world.until_lines("applied", 4).await;
    world.finish(Left::default()).await;
    drop((programs, successor));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_between_the_call_and_its_commit_calls_again_and_applies_once() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    let (programs, url) = world.start_all().await;
    let chaos = ("MILLRACE_CHAOS".to_owned(), "abort@after_call:1".to_owned());
    let mut doomed = world.start_with("millrace-provider", &[stripe.variables(), vec![chaos]].concat());
    tie(&world, &url, "sub_1").await;
    eventually("the end of a process", async || (!doomed.is_running()).then_some(())).await;
    assert_eq!((stripe.asked().len(), world.count(ANSWERS).await), (1, 0));
    let successor = world.start_with("millrace-provider", &stripe.variables());
    world.until_count(ANSWERS, 1).await;
    assert_eq!(stripe.asked().len(), 2);
    world.until_lines("applied", 4).await;
    world.finish(Left::default()).await;
    drop((programs, successor));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_left_alone_as_long_as_it_asks_and_a_redirect_is_not_followed() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    stripe.is_in_trouble(429, Some(("retry-after", "600".to_owned())));
    let (programs, url) = world.start_all().await;
    let provider: Program = world.start_with("millrace-provider", &stripe.variables());
    tie(&world, &url, "sub_1").await;
    let parked = "select count(*) from engine.parked where reason = 'provider_busy' and attempts = 0
                  and not_before > now() + interval '590 seconds'";
    world.until_count(parked, 1).await;
    world.execute("update engine.parked set not_before = now()").await;
    world.until_count(ANSWERS, 1).await;

    stripe.is_in_trouble(302, Some(("location", format!("{}/v1/subscriptions/sub_1", stripe.url()))));
    tie(&world, &url, "sub_2").await;
    world.until_lines("rejected", 1).await;
    assert_eq!(code(&world, "rejected"), json!("provider_refused"));
    assert_eq!(stripe.asked().len(), 3, "a redirect was followed");
    tie(&world, &url, "sub_3").await;
    world.until_lines("rejected", 2).await;
    assert_eq!(code(&world, "rejected"), json!("provider_object_unknown"));
    assert_eq!(world.count(OPEN).await, 2, "what nobody could answer stays marked");
    world.finish(Left::default()).await;
    drop((programs, provider));
}

/// The code of the newest line with an outcome.
fn code(world: &World, outcome: &str) -> Value {
    let lines = world.lines();
    let line = lines.iter().rev().find(|line| line["outcome"] == outcome);
    line.map(|line| line["metadata"]["code"].clone()).unwrap_or_default()
}
