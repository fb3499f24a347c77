//! Plans that are taken back, held or refused.

use millrace_tests::{Caller, Left, World, eventually, run_cli};
use serde_json::json;

use super::{ask, executed, get, settled};

const DUE: &str = "UPDATE engine.due SET due_at = now()";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_can_be_taken_back_while_it_cools_off_and_not_later() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", "bob", "editor"));
    let made = world.command(&url, &bob, "projects.create", "k", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");

    let place = ask(&world, &url, &ann, "e1", "bob").await;
    let planned = settled(&world, &place, &ann).await;
    assert_eq!((&planned["status"], &planned["erasure"]["state"]), (&json!("applied"), &json!("planned")), "{planned}");
    assert_eq!(get(&world, &format!("{place}/certificate"), &ann).await.0, 404, "nothing is done yet");
    let twice = settled(&world, &ask(&world, &url, &ann, "e2", "bob").await, &ann).await;
    assert_eq!(twice["code"], "erasure_planned");
    let again = ask(&world, &url, &ann, "e1", "bob").await;
    assert_eq!(again, place, "the same request is the same erasure");
    let unknown = settled(&world, &ask(&world, &url, &ann, "e3", "nobody").await, &ann).await;
    assert_eq!((&unknown["status"], &unknown["code"]), (&json!("rejected"), &json!("person_unknown")));

    let back = json!({ "erasure_id": planned["resource_id"] });
    let canceled = world.command(&url, &ann, "compliance.cancel_erasure", "c1", &back).await;
    assert_eq!(world.outcome("acme", &canceled).await, "applied");
    let late = world.command(&url, &ann, "compliance.cancel_erasure", "c2", &back).await;
    assert_eq!(world.outcome("acme", &late).await, "rejected:erasure_canceled");
    assert_eq!(settled(&world, &place, &ann).await["erasure"]["state"], "canceled");
    assert_eq!(world.count("select count(*) from app.erasures where subject is not null").await, 0);
    // Its message comes due all the same, and finds nothing to do.
    world.execute(DUE).await;
    eventually("it is settled", async || {
        let settled = |line: &serde_json::Value| line["action"] == "erasure.executed" && line["outcome"] == "rejected";
        world.lines().iter().any(settled).then_some(())
    })
    .await;
    assert!(!world.actor("acme", "bob").await.is_empty(), "a canceled erasure was executed");
    let still = world.command(&url, &bob, "projects.create", "k2", &json!({ "name": "y" })).await;
    assert_eq!(world.outcome("acme", &still).await, "applied");

    let place = ask(&world, &url, &ann, "e4", "bob").await;
    let planned = settled(&world, &place, &ann).await;
    world.execute(DUE).await;
    executed(&world, &place, &ann).await;
    let back = json!({ "erasure_id": planned["resource_id"] });
    let late = world.command(&url, &ann, "compliance.cancel_erasure", "c3", &back).await;
    assert_eq!(world.outcome("acme", &late).await, "rejected:erasure_executed");
    // Asked once more, the first erasure is the answer, with its certificate.
    let gone = ask(&world, &url, &ann, "e5", "bob").await;
    let first = settled(&world, &gone, &ann).await;
    assert_eq!((&first["status"], &first["resource_id"]), (&json!("applied"), &planned["resource_id"]), "{first}");
    assert_eq!(first["erasure"]["state"], "executed");
    let certificates = [&place, &gone].map(|place| format!("{place}/certificate"));
    let [one, other] = [get(&world, &certificates[0], &ann).await, get(&world, &certificates[1], &ann).await];
    assert_eq!((one.0, one.1 == other.1), (200, true));
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_suspends_erasures_and_nothing_else() {
    let world = World::new().await;
    for org in ["acme", "gone"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", "bob", "editor"));
    let made = world.command(&url, &bob, "projects.create", "k", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    let place = ask(&world, &url, &ann, "e1", "bob").await;
    assert_eq!(settled(&world, &place, &ann).await["status"], "applied");

    world.cli(&["hold", "place", "acme", "--matter", "2026-LIT-017"]).await;
    let said = world.cli(&["hold", "place", "acme", "--matter", "2026-LIT-017"]).await;
    assert!(said.contains("already"), "{said}");
    world.cli(&["hold", "place", "acme", "--matter", "second"]).await;
    let refused = settled(&world, &ask(&world, &url, &ann, "e2", "ann").await, &ann).await;
    assert_eq!((&refused["status"], &refused["code"]), (&json!("rejected"), &json!("legal_hold")));
    world.execute(DUE).await;
    world.until_count("select count(*) from engine.parked where reason = 'legal_hold'", 1).await;
    let works = world.command(&url, &bob, "projects.create", "k2", &json!({ "name": "y" })).await;
    assert_eq!(world.outcome("acme", &works).await, "applied", "a hold is no denial");
    world.cli(&["hold", "release", "acme", "--matter", "2026-LIT-017"]).await;
    world.until_count("select count(*) from engine.parked where waits > 1", 1).await;
    assert_eq!(settled(&world, &place, &ann).await["erasure"]["state"], "planned", "another hold remains");
    world.cli(&["hold", "release", "acme", "--matter", "second"]).await;
    executed(&world, &place, &ann).await;

    for (arguments, words) in [
        (["hold", "release", "acme", "--matter", "second"], "is not held"),
        (["hold", "place", "nowhere", "--matter", "x"], "there is no tenant"),
        (["hold", "place", "acme", "--matter", "Ann left us"], "no reference"),
    ] {
        let output = run_cli(&arguments, &world.environment()).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}: {output:?}");
    }
    // A tenant that is closed asks for nothing any more.
    world.cli(&["tenants", "close", "gone", "--yes"]).await;
    let late = Caller::user("gone", "root", "admin");
    let message = world.command(&url, &late, "compliance.erase", "e", &json!({ "user_id": "x" })).await;
    assert_eq!(world.outcome("gone", &message).await, "rejected:tenant_closed");
    world.finish(Left::default()).await;
    drop(programs);
}
