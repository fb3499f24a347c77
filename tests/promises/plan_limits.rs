//! A plan's limit holds however many commands run at once, and reaching it is a final answer.

use millrace_tests::{Caller, Left, World};
use serde_json::json;

const CONCURRENT: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_creates_at_limit_minus_one_leave_the_limit_and_sixty_three_rejections() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let workers: Vec<_> = (0..4).map(|_| world.start("millrace-projects")).collect();
    let caller = Caller::user("acme", "u1", "editor");
    for n in 0..2 {
        let id = world.command(&url, &caller, "projects.create", &format!("first-{n}"), &json!({ "name": "x" })).await;
        assert_eq!(world.outcome("acme", &id).await, "applied");
    }
    let world = std::sync::Arc::new(world);
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..CONCURRENT {
        let (world, url, caller) = (std::sync::Arc::clone(&world), url.clone(), caller.clone());
        sends.spawn(async move {
            let body = json!({ "name": format!("project {n}") });
            world.command(&url, &caller, "projects.create", &format!("key-{n}"), &body).await
        });
    }
    let mut outcomes = Vec::new();
    for id in sends.join_all().await {
        outcomes.push(world.outcome("acme", &id).await);
    }
    let with = |outcome: &str| outcomes.iter().filter(|found| *found == outcome).count();
    assert_eq!((with("applied"), with("rejected:plan_limit")), (1, CONCURRENT - 1), "{outcomes:?}");
    assert_eq!(world.count("select count(*) from app.projects").await, 3);
    assert_eq!(world.count("select used from app.usage_counters").await, 3);
    world.until_lines("rejected", CONCURRENT - 1).await;
    world.until_lines("applied", 3).await;
    assert_eq!(world.count("select count(*) from engine.parked").await, 0, "a limit is never tried again");
    std::sync::Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop((programs, workers));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_makes_room_at_once_and_a_smaller_one_takes_nothing_away() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all_workers().await;
    let admin = Caller::user("acme", "u1", "admin");
    let create = async |key: &str| {
        let id = world.command(&url, &admin, "projects.create", key, &json!({ "name": "x" })).await;
        world.outcome("acme", &id).await
    };
    let plan = async |plan: &str| {
        let id =
            world.command(&url, &admin, "billing.change_plan", &format!("to-{plan}"), &json!({ "plan": plan })).await;
        world.outcome("acme", &id).await
    };
    for key in ["a", "b", "c"] {
        assert_eq!(create(key).await, "applied");
    }
    assert_eq!(create("d").await, "rejected:plan_limit");
    assert_eq!(plan("pro").await, "applied");
    // A rejected command has used nothing up.
    assert_eq!(create("e").await, "applied");
    assert_eq!(plan("free").await, "applied");
    assert_eq!(create("f").await, "rejected:plan_limit");
    assert_eq!(world.count("select count(*) from app.projects").await, 4);
    let trial = "INSERT INTO app.entitlements (org_id, id, feature, kind, value, source, valid_to)
                 VALUES ('acme', gen_random_uuid(), 'projects', 'limit', '5', 'trial', now() + interval '1 day')";
    world.execute(trial).await;
    assert_eq!(create("g").await, "applied");
    assert_eq!(create("h").await, "rejected:plan_limit");
    assert_eq!(plan("platinum").await, "rejected:plan_unknown");
    assert_eq!(plan("enterprise").await, "rejected:plan_not_self_service");
    world.finish(Left::default()).await;
    drop(programs);
}
