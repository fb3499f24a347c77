//! Messages for later: what one worker cannot seal stands in nobody's way.

use millrace_tests::{Left, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_sealed_is_told_and_holds_up_no_other() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let broken = "insert into engine.due (org_id, message_type, subject, id, schema_version, body, cause, due_at)
        select org, 'billing.review_access', 'access', gen_random_uuid(), 1, '{}', cause, now() - interval '1 day'
        from (values ('no tenant', 'm_1'), ('globex', '')) as broken (org, cause)";
    world.execute(broken).await;
    let fine = "insert into engine.due (org_id, message_type, subject, id, schema_version, body, cause, due_at)
        values ('acme', 'billing.review_access', 'access', gen_random_uuid(), 1, '{}', 'm_1', now())";
    world.execute(fine).await;
    let (programs, _url) = world.start_all().await;
    world.until_lines("applied", 1).await;
    let told =
        "select count(*) from engine.due where refused_at is not null and due_at > now() + interval '50 minutes'";
    world.until_count(told, 2).await;
    assert_eq!(world.count("select count(*) from engine.due").await, 2);
    // Tried again, by a build that may know how; when it was first told stays.
    world.execute("update engine.due set due_at = now(), refused_at = now() - interval '1 day'").await;
    world.until_count(&format!("{told} and refused_at < now() - interval '23 hours'"), 2).await;
    world.execute("update engine.due set org_id = 'acme', cause = 'm_2', due_at = now() where org_id = 'globex'").await;
    world.until_lines("applied", 2).await;
    assert_eq!(world.count("select count(*) from engine.due").await, 1);
    world.finish(Left::default()).await;
    drop(programs);
}
