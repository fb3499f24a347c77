//! Who is away is no message's fault, and is waited for; a read that is too slow is its message's, and is counted.

use millrace_tests::{Left, StripeStandIn, World, eventually};

use super::{ANSWERS, OPEN, event, object, tie};

/// Lets what waits come due; what is in flight is an hour away and stays there.
const DUE: &str = "update engine.parked set not_before = now()
                   where not_before between now() and now() + interval '40 minutes'";

/// So many answers that are none: more than a message has attempts.
const OUTAGE: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_provider_is_waited_for_and_counts_no_attempt() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    for status in [500, 502, 503, 504, 429, 503, 500] {
        stripe.is_in_trouble(status, None);
    }
    let (programs, url) = world.start_all().await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    tie(&world, &url, "sub_1").await;
    let counted = "select count(*) from engine.parked where attempts > 0";
    eventually("the outage is over", async || {
        assert_eq!(world.count(counted).await, 0, "an outage was counted");
        world.execute(DUE).await;
        (stripe.asked().len() > OUTAGE).then_some(())
    })
    .await;
    world.until_count(ANSWERS, 1).await;
    assert_eq!(world.count(OPEN).await, 0);
    world.until_lines("applied", 4).await;
    world.finish(Left::default()).await;
    drop((programs, provider));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_waited_for_a_day_and_not_longer() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    let (programs, url) = world.start_all().await;
    let nowhere = ("MILLRACE__BILLING__API__BASE_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let provider = world.start_with("millrace-provider", &[stripe.variables(), vec![nowhere]].concat());
    tie(&world, &url, "sub_1").await;
    let waits = "select count(*) from engine.parked where reason = 'provider_unreachable' and attempts = 0";
    world.until_count(&format!("{waits} and waits > 0"), 1).await;
    let before = "update engine.parked set not_before = now(), first_parked_at = now() - interval";
    world.execute(&format!("{before} '23 hours'")).await;
    world.until_count(&format!("{waits} and waits > 1"), 1).await;
    world.execute(&format!("{before} '25 hours'")).await;
    let dead = "select count(*) from engine.dead_letters where reason = 'provider_unreachable'";
    world.until_count(dead, 1).await;
    assert_eq!(world.count(OPEN).await, 1, "what nobody answered stays marked");
    world.until_lines("dead", 1).await;
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop((programs, provider));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_too_slow_is_counted_and_holds_up_nobody_for_ever() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let stripe = StripeStandIn::start().await;
    stripe.has_subscription(object(&event(&world, "sub_1", "updated", "active", 9)));
    let (programs, url) = world.start_all().await;
    tie(&world, &url, "sub_1").await;
    world.until_count(OPEN, 1).await;
    world.until_lines("applied", 2).await;
    // Whoever looks at a subscription takes longer than a statement may.
    let slow = "create policy slow on app.subscriptions as restrictive for select to millrace_app
                using (pg_sleep(60) is not null)";
    world.execute(slow).await;
    let provider = world.start_with("millrace-provider", &stripe.variables());
    let failed = "select count(*) from engine.parked where reason = 'statement_failed' and attempts = 1";
    world.until_count(failed, 1).await;
    assert_eq!(stripe.asked().len(), 0, "there was a call without what it is about");
    world.execute("drop policy slow on app.subscriptions; update engine.parked set not_before = now()").await;
    world.until_count(ANSWERS, 1).await;
    world.until_lines("applied", 4).await;
    world.finish(Left::default()).await;
    drop((programs, provider));
}
