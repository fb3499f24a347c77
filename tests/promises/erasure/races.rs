//! An erasure against what comes at the same moment: mappings that are being made, and holds.

use millrace_tests::{Caller, Left, World, eventually, run_cli};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::{ask, settled};
use crate::isolation::context;

/// A worker's session in a transaction with acme in scope.
async fn session(world: &World) -> PgConnection {
    let mut connection = PgConnection::connect(&world.role_url("millrace_app").await).await.expect("a connection");
    let begin = format!("BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL app.ctx = '{}'", context(world, "acme"));
    run(&mut connection, &begin).await;
    connection
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect("a statement");
}

const NAME: &str = "SELECT count(*) FROM app.pseudonyms(ARRAY['bob'])";
const ERASE: &str = "SELECT app.erase_person('bob', true)";
const WAITING: &str = "select count(*) from pg_locks where not granted and database =
    (select oid from pg_database where datname = current_database())";

/// One session works and keeps its transaction; the other has to wait for it, and both end.
async fn beside(world: &World, first: &str, second: &'static str) {
    world.execute("DELETE FROM app.subjects; DELETE FROM app.removed_members").await;
    let mut one = session(world).await;
    run(&mut one, first).await;
    let mut two = session(world).await;
    let waits = tokio::spawn(async move {
        run(&mut two, second).await;
        run(&mut two, "COMMIT").await;
    });
    eventually("the second waits", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(world.superuser())
        .await
        .ok()?;
        (waiting > 0).then_some(())
    })
    .await;
    run(&mut one, "COMMIT").await;
    waits.await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mapping_is_made_beside_an_erasure_whoever_comes_first() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    beside(&world, NAME, ERASE).await;
    assert_eq!(world.actor("acme", "bob").await, "", "the mapping that was being made outlived the erasure");
    beside(&world, ERASE, NAME).await;
    assert_eq!(world.actor("acme", "bob").await, "", "a mapping was made while the erasure committed");
    // Of a tenant whose erasure begins no mapping is made either.
    let entomb = "UPDATE app.tenants SET state = 'closed', closed_at = now(), erased_at = now()";
    beside(&world, entomb, NAME).await;
    assert_eq!(world.actor("acme", "bob").await, "", "a mapping was made while the tenant's tombstone was placed");
    world.execute("DELETE FROM engine.outbox").await;
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_placed_before_an_erasure_or_after_it_and_never_beside_it() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", "bob", "editor"));
    let made = world.command(&url, &bob, "projects.create", "k", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    let place = ask(&world, &url, &ann, "e1", "bob").await;
    assert_eq!(settled(&world, &place, &ann).await["status"], "applied");

    // A handler is at the tenant.
    let mut turn = world.superuser().begin().await.expect("a transaction");
    sqlx::query("SELECT pg_advisory_xact_lock(1835625581, hashtext('acme') & 1023)")
        .execute(&mut *turn)
        .await
        .expect("the turn");
    let environment = world.environment();
    let placing = tokio::spawn(async move { run_cli(&["hold", "place", "acme", "--matter", "m"], &environment).await });
    world.until_count(&format!("{WAITING} and locktype = 'advisory'"), 1).await;
    assert_eq!(world.count("select count(*) from engine.holds").await, 0, "placed beside a handler");
    turn.rollback().await.expect("an end");
    let output = placing.await.expect("an end");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("planned wait"), "{output:?}");
    world.execute("UPDATE engine.due SET due_at = now()").await;
    world.until_count("select count(*) from engine.parked where reason = 'legal_hold'", 1).await;
    world.cli(&["hold", "release", "acme", "--matter", "m"]).await;
    super::executed(&world, &place, &ann).await;
    world.finish(Left::default()).await;
    drop(programs);
}
