//! Every accepted event is applied once, whatever is delivered how often and in which order.

use std::sync::Arc;

use millrace_tests::{Left, Sample, World};
use rand::seq::SliceRandom;

const EVENTS: usize = 200;
const COPIES: usize = 5;
const SENDERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_events_five_times_each_are_two_hundred_effects() {
    let world = Arc::new(World::new().await);
    world.tenant("acme", "cus_1").await;
    world.tenant("globex", "cus_2").await;
    let (programs, url) = world.start_all().await;
    let second_worker = world.start("millrace-billing");

    let events: Vec<Sample> =
        (0..EVENTS).map(|n| world.invoice_event(if n % 2 == 0 { "cus_1" } else { "cus_2" })).collect();
    let mut deliveries: Vec<Sample> =
        events.iter().flat_map(|event| std::iter::repeat_n(event.clone(), COPIES)).collect();
    deliveries.shuffle(&mut rand::rng());
    let mut senders = tokio::task::JoinSet::new();
    for share in deliveries.chunks(deliveries.len().div_ceil(SENDERS)) {
        let (world, url, share) = (Arc::clone(&world), url.clone(), share.to_vec());
        senders.spawn(async move {
            for event in &share {
                world.accept(&url, event).await;
            }
        });
    }
    senders.join_all().await;

    world.until_count("select count(distinct event_id) from app.billing_history", EVENTS as i64).await;
    world.until_lines("applied", EVENTS).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, EVENTS as i64, "an effect was doubled");
    assert_eq!(world.count("select count(*) from app.invoices where org_id = 'acme'").await, EVENTS as i64 / 2);
    assert_eq!(world.count("select count(*) from app.invoices where org_id = 'globex'").await, EVENTS as i64 / 2);
    let ids: std::collections::HashSet<String> =
        world.lines().iter().map(|line| line["event_id"].to_string()).collect();
    assert_eq!(ids.len(), world.lines().len(), "an audit line was doubled");
    Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop((programs, second_worker));
}
