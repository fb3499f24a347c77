//! Keys are remembered across generations, generations turn under load, and what is older than the memory is never applied.

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::json;

/// Lets the present generation be old enough for the next turn, and waits for it.
async fn turn(world: &World, to: &str) {
    world.execute("UPDATE engine.inbox_turn SET since = since - interval '40 days'").await;
    world.until_count(&format!("select count(*) from engine.inbox_turn where generation = '{to}'"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_remembered_in_the_next_generation_and_forgotten_in_the_one_after() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all_workers().await;
    let (event, caller) = (world.invoice_event("cus_1"), Caller::user("acme", "u1", "editor"));
    world.accept(&url, &event).await;
    world.until_lines("applied", 1).await;
    let id = world.command(&url, &caller, "projects.create", "key", &json!({ "name": "one" })).await;
    assert_eq!(world.outcome("acme", &id).await, "applied");
    assert_eq!(world.count("select count(*) from engine.inbox_a").await, 3, "two messages and one idempotency key");

    turn(&world, "b").await;
    world.accept(&url, &event).await;
    let id = world.command(&url, &caller, "projects.create", "key", &json!({ "name": "two" })).await;
    assert_eq!(world.outcome("acme", &id).await, "rejected:idempotency_key_reused");
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 3).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, 2, "the copy was applied again");
    assert_eq!(world.count("select count(*) from engine.inbox_b").await, 2, "the rejected command and the new event");
    assert_eq!(world.count("select count(*) from engine.inbox_a").await, 3, "the generation before is kept");

    turn(&world, "c").await;
    world.until_count("select count(*) from engine.inbox_a", 0).await;
    assert_eq!(world.count("select count(*) from engine.inbox_b").await, 2, "the generation before is kept");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn turning_under_load_loses_nothing_and_doubles_nothing() {
    const EVENTS: i64 = 300;
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let second = world.start("millrace-billing");
    let events: Vec<_> = (0..EVENTS).map(|_| world.invoice_event("cus_1")).collect();
    let send = async {
        for event in &events {
            world.accept(&url, event).await;
            world.accept(&url, event).await;
        }
    };
    let turns = async {
        world.until_count("select count(*) from (select from engine.inbox limit 10) as begun", 10).await;
        turn(&world, "b").await;
    };
    tokio::join!(send, turns);
    world.until_lines("applied", usize::try_from(EVENTS).expect("a number")).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, EVENTS);
    assert_eq!(world.count("select count(*) from engine.inbox").await, EVENTS);
    assert!(world.count("select count(*) from engine.inbox_a").await > 0, "nothing was claimed before the turn");
    world.finish(Left::default()).await;
    drop((programs, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_older_than_the_memory_is_dead_and_not_applied() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let (mut old, mut recent) = (world.invoice_event("cus_1"), world.invoice_event("cus_1"));
    old.created -= 35 * 24 * 3_600 + 60;
    recent.created -= 35 * 24 * 3_600 - 600;
    world.accept(&url, &old).await;
    world.accept(&url, &recent).await;
    world.until_lines("dead", 1).await;
    world.until_lines("applied", 1).await;
    let dead = "select count(*) from engine.dead_letters where org_id = 'acme' and reason = 'too_old_to_dedupe'";
    assert_eq!(world.count(dead).await, 1);
    assert_eq!(world.count("select count(*) from app.billing_history").await, 1);
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_meets_a_lock_waits_and_its_neighbours_do_not() {
    let world = World::new().await;
    for org in ["acme", "globex", "initech"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let mut lock = world.superuser().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM app.tenants WHERE org_id = 'globex' FOR UPDATE")
        .execute(&mut *lock)
        .await
        .expect("a lock");
    for org in ["acme", "globex", "initech"] {
        let caller = Caller::user(org, "u1", "editor");
        world.enqueue("projects", &world.sealed(&caller, "projects.create", "k", &json!({ "name": "x" }))).await;
    }
    let programs = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", 2).await;
    world.until_count("select count(*) from engine.parked where reason = 'contended' and attempts = 0", 1).await;
    lock.rollback().await.expect("the lock is given back");
    world.until_lines("applied", 3).await;
    eventually("nothing waits", async || (world.count("select count(*) from engine.parked").await == 0).then_some(()))
        .await;
    world.finish(Left::default()).await;
    drop(programs);
}
