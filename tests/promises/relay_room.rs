//! What no queue takes makes room in the relay for what some queue does.

use millrace_tests::{Left, World};

/// More rows than a sweep takes.
const STUCK: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_outbox_that_no_queue_takes_hold_up_no_other() {
    let world = World::new().await;
    world.listen("taken", "some.event").await;
    let rows = format!(
        "insert into engine.outbox (id, exchange, routing_key, fields, body, created_at)
         select gen_random_uuid(), 'millrace.work', 'nobody.main', '{{}}', '', now() - interval '1 day'
         from generate_series(1, {STUCK});
         insert into engine.outbox (id, exchange, routing_key, fields, body, created_at)
         values (gen_random_uuid(), 'millrace.events', 'some.event', '{{}}', '', now() - interval '1 hour')"
    );
    world.execute(&rows).await;
    let relay = world.start("millrace-relay");
    world.until_count("select count(*) from engine.outbox where routing_key = 'some.event'", 0).await;
    assert_eq!(world.depth("taken").await, 1);
    assert_eq!(world.count("select count(*) from engine.outbox").await, i64::from(STUCK));
    world.execute("delete from engine.outbox").await;
    world.finish(Left::default()).await;
    drop(relay);
}
