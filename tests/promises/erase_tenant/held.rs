//! A tenant's erasure is suspended by a hold, between its steps too; and it can be taken back until it begins.

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::json;

use super::{lines_of, rows, seed};
use crate::erasure::{ask_for, executed, settled};

const DUE: &str = "UPDATE engine.due SET due_at = now()";

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_an_erasure_between_its_steps_and_a_plan_can_be_taken_back() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, url) = world.start_all().await;
    programs.push(world.start("millrace-compliance"));
    seed(&world, 3_000).await;
    let ann = Caller::user("acme", "ann", "admin");
    let org = json!({ "scope": "org", "org_id": "acme" });

    let planned = settled(&world, &ask_for(&world, &url, &ann, "e1", &org).await, &ann).await;
    assert_eq!((&planned["status"], &planned["erasure"]["state"]), (&json!("applied"), &json!("planned")), "{planned}");
    let twice = settled(&world, &ask_for(&world, &url, &ann, "e2", &org).await, &ann).await;
    assert_eq!(twice["code"], "erasure_planned");
    let back = json!({ "erasure_id": planned["resource_id"] });
    let canceled = world.command(&url, &ann, "compliance.cancel_erasure", "c1", &back).await;
    assert_eq!(world.outcome("acme", &canceled).await, "applied");
    world.cli(&["hold", "place", "acme", "--matter", "first"]).await;
    let held = settled(&world, &ask_for(&world, &url, &ann, "e3", &org).await, &ann).await;
    assert_eq!((&held["status"], &held["code"]), (&json!("rejected"), &json!("legal_hold")));
    world.cli(&["hold", "release", "acme", "--matter", "first"]).await;

    // Somebody holds a row of a later step; the erasure begins, and stops there.
    let place = ask_for(&world, &url, &ann, "e4", &org).await;
    settled(&world, &place, &ann).await;
    let mut holder = world.superuser().begin().await.expect("a transaction");
    let locked = "SELECT 1 FROM app.tenants t JOIN app.settings s USING (org_id) WHERE org_id = 'acme' FOR UPDATE OF s";
    sqlx::query(locked).fetch_one(&mut *holder).await.expect("the settings");
    world.execute(DUE).await;
    world.until_count("select count(*) from engine.parked where reason = 'contended'", 1).await;
    let said = world.cli(&["hold", "place", "acme", "--matter", "second"]).await;
    assert!(said.contains("had begun"), "{said}");
    holder.rollback().await.expect("an end");
    world.execute("UPDATE engine.parked SET not_before = now()").await;
    world.until_count("select count(*) from engine.parked where reason = 'legal_hold'", 1).await;
    let (left, steps) = (rows(&world, "acme", "NULL").await, lines_of(&world, "erasure.continued"));
    assert!(left.iter().any(|(place, _)| place == "app.settings"), "the erasure went on: {left:?}");
    assert!(left.iter().all(|(place, _)| place != "app.members"), "the erasure had not begun: {left:?}");
    let late = world.command(&url, &ann, "compliance.cancel_erasure", "c2", &back).await;
    assert_eq!(world.outcome("acme", &late).await, "denied:tenant_erased");

    world.cli(&["hold", "release", "acme", "--matter", "second"]).await;
    executed(&world, &place, &ann).await;
    assert_eq!(rows(&world, "acme", "NULL").await, []);
    let more = || lines_of(&world, "erasure.continued") > steps;
    eventually("the step that was held has its line", async || more().then_some(())).await;
    world.finish(Left::default()).await;
    drop(programs);
}
