//! 2xx means durable: what the client was told 200 for survives a broker that is killed while it publishes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use millrace_tests::{Left, World, eventually};

const SENDERS: usize = 8;
const WANTED: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn every_200_given_while_the_broker_dies_and_returns_is_applied_once() {
    let world = Arc::new(World::alone().await);
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    // The client's own record: ids it was told 200 for.
    let confirmed = Arc::new(Mutex::new(Vec::<String>::new()));
    let refused = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let (world, url, confirmed) = (Arc::clone(&world), url.clone(), Arc::clone(&confirmed));
        let (refused, stop) = (Arc::clone(&refused), Arc::clone(&stop));
        senders.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let event = world.invoice_event("cus_1");
                // As Stripe does: the same event again until it is a 200.
                loop {
                    let answer = world.post(&url, event.body()).await.expect("the ingress stays");
                    if answer.status == 200 {
                        break;
                    }
                    assert_eq!(answer.status, 503);
                    assert!(answer.headers.contains_key("retry-after"));
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                confirmed.lock().expect("the record").push(event.id.clone());
            }
        });
    }
    let count = || confirmed.lock().expect("the record").len();
    eventually("publishing runs", async || (count() > WANTED / 4).then_some(())).await;
    world.servers().rabbit.lock().await.kill().await;
    eventually("the ingress sheds load", async || (refused.load(Ordering::Relaxed) > 0).then_some(())).await;
    world.servers().rabbit.lock().await.start_again().await.expect("the broker returns");
    let before = count();
    eventually("publishing goes on", async || (count() > before + WANTED / 4).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    senders.join_all().await;

    let confirmed = std::mem::take(&mut *confirmed.lock().expect("the record"));
    let wanted = confirmed.len() as i64;
    world.until_count("select count(distinct event_id) from app.billing_history", wanted).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, wanted, "an effect was doubled");
    let known: Vec<String> = sqlx::query_scalar("select event_id from app.billing_history where event_id = any($1)")
        .bind(&confirmed)
        .fetch_all(world.superuser())
        .await
        .expect("ids");
    assert_eq!(known.len(), confirmed.len(), "the client's record and the effects differ");
    world.until_lines("applied", confirmed.len()).await;
    Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop(programs);
}
