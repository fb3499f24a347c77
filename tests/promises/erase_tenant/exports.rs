//! An export of a tenant that is erased can be fetched by nobody, and its objects are gone before a certificate says so.

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::json;

use super::seed;
use crate::erasure::{ask_for, executed, get};
use crate::export;

#[tokio::test(flavor = "multi_thread")]
async fn exports_go_with_their_tenant() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, url) = world.start_all().await;
    let compliance = world.start("millrace-compliance");
    seed(&world, 10).await;
    let (ann, gus) = (Caller::user("acme", "ann", "admin"), Caller::user("globex", "gus", "admin"));
    let ours = export::ask(&world, &url, &ann, "x1", None).await;
    let theirs = export::ask(&world, &url, &gus, "x1", None).await;
    export::ready(&world, &ours, &ann).await;
    export::ready(&world, &theirs, &gus).await;
    let folders = || std::fs::read_dir(export::store(&world)).expect("the store").count();
    assert_eq!(folders(), 2);

    let erasure = ask_for(&world, &url, &ann, "e1", &json!({ "scope": "org", "org_id": "acme" })).await;
    world.until_count("select count(*) from app.exports where org_id = 'acme' and state = 'revoked'", 1).await;
    assert_eq!(get(&world, &format!("{ours}/export"), &ann).await.0, 410);
    // A page that is under way may still write: the objects go when it cannot any more, and the certificate waits.
    world.until_count("select count(*) from engine.parked where reason = 'erasure_unfinished'", 1).await;
    assert_eq!(folders(), 2);
    world.execute("UPDATE engine.due SET due_at = now() WHERE due_at < now() + interval '16 minutes'").await;
    executed(&world, &erasure, &ann).await;
    assert_eq!(folders(), 1, "objects outlived their tenant, or another tenant's went");
    let kept = "select count(*) from app.exports where org_id = 'acme' and gone_at is not null and subject is null";
    assert_eq!(world.count(kept).await, 1);
    assert_eq!(get(&world, &format!("{theirs}/export"), &gus).await.0, 200);
    eventually("its line", async || {
        world.lines().iter().any(|line| line["action"] == "erasure.executed").then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop((programs, compliance));
}
