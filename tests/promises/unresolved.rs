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
