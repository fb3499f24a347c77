//! What became of a command, and waiting for it.

use std::sync::Arc;

use millrace::config::Process;
use millrace_tests::{Left, World};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Asker, reads, seed, sql, with};

/// Waits that the edge holds at once.
const MOST_WAITING: usize = 256;

/// Settles the message `late` of tenant `acme`.
const SETTLE: &str = "INSERT INTO engine.operations
    (org_id, publisher, message_id, command, outcome, resource_type, resource_id, settled_at)
    VALUES ('acme', 'ingress', 'late', 'projects.create', 'applied', 'project', 'p_1', '2026-01-02 03:04:05Z')";

fn settled() -> Value {
    let at = "2026-01-02T03:04:05Z";
    json!({ "status": "applied", "settled_at": at, "resource_type": "project", "resource_id": "p_1" })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_told_with_what_belongs_to_it() {
    let world = World::new().await;
    seed(&world, "acme").await;
    sql(
        &world,
        "INSERT INTO engine.operations (org_id, publisher, message_id, command, outcome, code, settled_at)
         SELECT 'acme', 'ingress', outcome, 'projects.create', outcome, code, '2026-01-02 03:04:05Z'
         FROM (VALUES ('rejected', 'limit_reached'), ('denied', 'role_table'), ('dead', 'bad_body')) AS o (outcome, code);
         INSERT INTO engine.operations (org_id, publisher, message_id, command, outcome, settled_at)
         VALUES ('acme', 'crm', 'elsewhere', 'projects.create', 'dead', '2026-01-02 03:04:05Z'),
                ('acme', 'crm', 'late', 'projects.create', 'dead', now()),
                ('globex', 'ingress', 'theirs', 'projects.create', 'dead', now())",
    )
    .await;
    sql(&world, SETTLE).await;
    let (reads, acme, at) = (reads(&world), Asker::admin("acme"), "2026-01-02T03:04:05Z");
    for (message, wanted) in [
        ("late", settled()),
        ("rejected", json!({ "status": "rejected", "settled_at": at, "code": "limit_reached" })),
        ("denied", json!({ "status": "denied", "settled_at": at, "code": "role_table" })),
        ("dead", json!({ "status": "dead", "settled_at": at })),
        ("nothing", json!({ "status": "pending" })),
        // The same command over another publisher's key: whoever has its id may know. The edge's own row comes first.
        ("elsewhere", json!({ "status": "dead", "settled_at": at })),
        ("theirs", json!({ "status": "pending" })),
    ] {
        assert_eq!(acme.operation(&reads, message, 0).await.expect(message), wanted, "{message}");
    }
    world.finish(Left::default()).await;
}

/// With one connection in all, a wait that held it would leave none for the reads beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_outcome_and_holds_no_connection_until_then() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let mut config = world.config(Process::Ingress);
    config.database.read_connections = 1;
    let (reads, acme) = (with(&config), Asker::admin("acme"));
    let beside = async {
        for _ in 0..20 {
            acme.get(&reads, "settings").await.expect("settings beside the wait");
        }
        sql(&world, SETTLE).await;
    };
    let (outcome, ()) = tokio::join!(acme.operation(&reads, "late", 10), beside);
    assert_eq!(outcome.expect("an answer"), settled());
    let began = std::time::Instant::now();
    assert_eq!(acme.operation(&reads, "never", 1).await.expect("an answer"), json!({ "status": "pending" }));
    assert!(began.elapsed().as_millis() >= 1000, "it did not wait");
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_beyond_the_bound_are_answered_at_once() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let (reads, beyond) = (Arc::new(reads(&world)), 44);
    let mut asking = JoinSet::new();
    for _ in 0..MOST_WAITING + beyond {
        let reads = Arc::clone(&reads);
        asking.spawn(async move { Asker::admin("acme").operation(&reads, "late", 10).await.expect("an answer") });
    }
    for _ in 0..beyond {
        let answer = asking.join_next().await.expect("somebody").expect("an answer");
        assert_eq!(answer, json!({ "status": "pending" }));
    }
    sql(&world, SETTLE).await;
    let others = asking.join_all().await;
    assert_eq!(others.len(), MOST_WAITING);
    assert!(others.iter().all(|answer| *answer == settled()), "somebody was not held");
    world.finish(Left::default()).await;
}
