//! The ingress needs no database: webhooks are accepted while PostgreSQL is away, and applied when it is back.

use millrace_cli::local::Stop;
use millrace_tests::{Left, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_accepted_without_a_database_are_applied_when_it_returns() {
    let world = World::alone().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;

    world.servers().postgres.lock().await.stop(Stop::Immediate).await;
    for _ in 0..50 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    // An outage shorter than the worker's patience would prove nothing.
    eventually("a worker's batch waits", async || {
        programs.iter().any(|program| program.log_text().contains("the batch waits")).then_some(())
    })
    .await;
    let (second_ingress, second_url) = world.start_ingress().await;
    world.accept(&second_url, &world.invoice_event("cus_1")).await;
    world.servers().postgres.lock().await.start_again().await.expect("PostgreSQL returns");

    world.until_count("select count(*) from app.billing_history", 52).await;
    world.until_lines("applied", 52).await;

    // A restart in order, in the middle of the work: sessions are ended, and no new one begins for a while.
    for number in 0..60 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
        if number == 20 {
            let mut postgres = world.servers().postgres.lock().await;
            postgres.stop(Stop::Fast).await;
            postgres.start_again().await.expect("PostgreSQL returns");
        }
    }
    world.until_lines("applied", 112).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, 112, "an effect was doubled");
    assert_eq!(world.count("select count(*) from engine.dead_letters").await, 0, "the outage burned attempts");
    world.finish(Left::default()).await;
    drop((programs, second_ingress));
}
