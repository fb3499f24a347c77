//! Ack after commit: a crash leads to redelivery, and redelivery to "duplicate".

use millrace_tests::{Left, TcpRelay, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_commit_and_ack_applies_nothing_twice() {
    let mut world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));

    // This worker's acks and publishes never arrive; what the broker says to it does.
    let address = world.servers().rabbit.lock().await.amqp_address();
    let relay = TcpRelay::start(address).await;
    let addresses = world.config(millrace::config::Process::All).amqp.addresses[0].clone();
    let mut through = addresses.clone();
    through.set_port(Some(relay.port())).expect("a port");
    world.set("MILLRACE__AMQP__ADDRESSES", through.to_string());
    let doomed = world.start("millrace-billing");
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    relay.swallow_clients();
    for _ in 0..10 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    eventually("a commit whose ack is lost", async || {
        (world.count("select count(*) from app.billing_history").await > 1).then_some(())
    })
    .await;
    doomed.kill().await;
    drop(relay);

    world.set("MILLRACE__AMQP__ADDRESSES", addresses.to_string());
    let successor = world.start("millrace-billing");
    world.until_count("select count(distinct event_id) from app.billing_history", 11).await;
    world.until_lines("applied", 11).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, 11, "an effect was doubled");
    world.finish(Left::default()).await;
    drop((ingress, others, successor));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_at_random_lose_and_double_nothing() {
    const EVENTS: usize = 150;
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let mut applied = 0;
    let mut worker = world.start("millrace-billing");
    for _ in 0..5 {
        for _ in 0..EVENTS / 5 {
            world.accept(&url, &world.invoice_event("cus_1")).await;
        }
        eventually("progress", async || {
            let now = world.count("select count(*) from app.billing_history").await;
            (now > applied).then(|| applied = now)
        })
        .await;
        let next = world.start("millrace-billing");
        std::mem::replace(&mut worker, next).kill().await;
    }
    world.until_count("select count(distinct event_id) from app.billing_history", EVENTS as i64).await;
    world.until_lines("applied", EVENTS).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, EVENTS as i64, "an effect was doubled");
    world.finish(Left::default()).await;
    drop((ingress, others, worker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_leaves_with_zero_and_nothing_half_done() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    for _ in 0..30 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    let drained = world.start("millrace-billing");
    eventually("it consumes", async || drained.log_text().contains("worker runs").then_some(())).await;
    assert_eq!(drained.terminate().await, 0);
    world.until_lines("applied", 30).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, 30);
    world.finish(Left::default()).await;
    drop(programs);
}
