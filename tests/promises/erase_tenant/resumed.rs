//! A tenant's erasure that is killed goes on, counts nothing twice, and ends once.

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::json;

use super::{lines_of, rows, seed};
use crate::erasure::{ask_for, executed};

/// Where the worker dies, and when it passes there for the last time.
const DEATHS: [(&str, u32); 4] = [("before_commit", 2), ("after_commit", 2), ("before_ack", 1), ("after_claim", 1)];

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_goes_on_and_ends_once() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, url) = world.start_all().await;
    seed(&world, 6_500).await;
    let ann = Caller::user("acme", "ann", "admin");
    let place = ask_for(&world, &url, &ann, "e1", &json!({ "scope": "org", "org_id": "acme" })).await;
    for (point, passed) in DEATHS {
        let chaos = ("MILLRACE_CHAOS".to_owned(), format!("abort@{point}:{passed}"));
        let mut compliance = world.start_with("millrace-compliance", &[chaos]);
        eventually(&format!("it dies at {point}"), async || (!compliance.is_running()).then_some(())).await;
    }
    let begun = "select count(*) from app.erasures where scope = 'org' and state = 'executing'";
    assert_eq!(world.count(begun).await, 1, "it was not killed in the middle");
    let compliance = world.start("millrace-compliance");
    let found = executed(&world, &place, &ann).await;
    assert_eq!(found["erasure"]["erased"]["app.projects"], 6_500, "rows were counted twice, or not at all: {found}");
    assert_eq!(rows(&world, "acme", "NULL").await, []);
    eventually("the line", async || (lines_of(&world, "erasure.executed") == 1).then_some(())).await;
    world.until_count("select count(*) from engine.outbox", 0).await;
    assert_eq!((lines_of(&world, "erasure.begun"), lines_of(&world, "erasure.executed")), (1, 1));
    world.finish(Left::default()).await;
    drop((programs, compliance));
}
