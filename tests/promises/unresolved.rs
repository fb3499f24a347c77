//! An event of a customer nobody has linked yet waits, uncounted, and is applied once the link is there.

use millrace_tests::{Left, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_customer_waits_for_its_link_and_is_then_applied() {
    let world = World::new().await;
    let (programs, url) = world.start_all().await;
    let event = world.invoice_event("cus_new");
    world.accept(&url, &event).await;
    world
        .until_count("select count(*) from engine.parked where reason = 'tenant_unresolved' and attempts = 0", 1)
        .await;
    assert_eq!(world.count("select count(*) from engine.inbox").await, 0, "a parked message leaves no inbox row");

    world.tenant("acme", "cus_new").await;
    world.until_count("select count(*) from app.billing_history where org_id = 'acme'", 1).await;
    world.until_lines("applied", 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_without_a_link_it_is_a_dead_letter_and_not_dropped() {
    let world = World::new().await;
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_nobody")).await;
    world.until_count("select count(*) from engine.parked where not_before is not null", 1).await;
    let aged = "update engine.parked set first_parked_at = now() - interval '25 hours', not_before = now()";
    sqlx::query(aged).execute(world.superuser()).await.expect("an older row");
    world
        .until_count(
            "select count(*) from engine.dead_letters where reason = 'tenant_unresolved' and org_id = 'millrace:operator'",
            1,
        )
        .await;
    world.until_lines("dead", 1).await;
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_that_nobody_handles_is_ignored_audited_and_needs_no_tenant() {
    let world = World::new().await;
    let (programs, url) = world.start_all().await;
    let mut event = world.invoice_event("cus_nobody");
    event.event_type = "charge.updated".to_owned();
    for _ in 0..3 {
        world.accept(&url, &event).await;
    }
    world.until_lines("ignored", 1).await;
    assert_eq!(world.lines()[0]["org_id"], "millrace:operator");
    world.finish(Left::default()).await;
    drop(programs);
}

/// A batch takes these rows in the order of their keys; whoever took them in another one would deadlock with it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_wakes_what_waits_holds_no_later_message_while_an_earlier_one_is_taken() {
    let world = World::new().await;
    // In the table the later one comes first.
    for id in ["b", "a"] {
        let parked = format!(
            "insert into engine.parked (publisher, message_id, exchange, routing_key, fields, body, reason, not_before)
             values ('crm', '{id}', 'x', 'x', '{{}}', '', 'tenant_unknown', now() + interval '1 hour')"
        );
        world.execute(&parked).await;
    }
    let mut batch = world.superuser().begin().await.expect("a transaction");
    let taken = "select 1 from engine.parked where message_id = 'a' for update";
    sqlx::raw_sql(taken).execute(&mut *batch).await.expect("a lock");
    let pool = world.superuser().clone();
    let waking = tokio::spawn(async move {
        let woken = sqlx::query_scalar::<_, i64>("select engine.wake('tenant_unknown')");
        woken.fetch_one(&pool).await.expect("waking")
    });
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    world.until_count(waiting, 1).await;
    let free =
        "select count(*) from (select 1 from engine.parked where message_id = 'b' for update skip locked) as later";
    assert_eq!(world.count(free).await, 1, "the later one is held");
    batch.rollback().await.expect("a rollback");
    assert_eq!(waking.await.expect("the waker"), 2);
    world.execute("delete from engine.parked").await;
    world.finish(Left::default()).await;
}
