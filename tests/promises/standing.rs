//! A suspended tenant's commands are rejected with a code; paying and leaving stay open; a closed one asks in vain.

use millrace_tests::{Caller, Left, World};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn each_standing_rejects_what_it_should() {
    let world = World::new().await;
    let (programs, url) = world.start_all_workers().await;
    let (admin, service) = (Caller::user("acme", "u1", "admin"), Caller::service("acme", "signup", "admin"));
    let mut keys = 0;
    let mut send = async |caller: &Caller, command: &str, body: serde_json::Value| {
        keys += 1;
        let id = world.command(&url, caller, command, &format!("k{keys}"), &body).await;
        world.outcome("acme", &id).await
    };
    let project = || json!({ "name": "x" });
    let plan = || json!({ "plan": "pro" });

    assert_eq!(send(&service, "tenants.create", json!({ "name": "Acme", "plan": "enterprise" })).await, "applied");
    assert_eq!(send(&service, "tenants.create", json!({ "name": "Acme" })).await, "rejected:tenant_exists");
    assert_eq!(send(&admin, "projects.create", project()).await, "applied");
    for (level, outcome) in
        [("grace", "applied"), ("read_only", "rejected:access_read_only"), ("suspended", "rejected:access_suspended")]
    {
        let access = format!(
            "INSERT INTO app.access (org_id, level, evaluated_at) VALUES ('acme', '{level}', now())
             ON CONFLICT (org_id) DO UPDATE SET level = EXCLUDED.level"
        );
        world.execute(&access).await;
        assert_eq!(send(&admin, "projects.create", project()).await, outcome, "{level}");
        assert_eq!(send(&admin, "billing.change_plan", plan()).await, "applied", "{level}");
    }
    world.execute("DELETE FROM app.access").await;
    assert_eq!(send(&service, "tenants.suspend", json!({})).await, "applied");
    assert_eq!(send(&admin, "projects.create", project()).await, "rejected:tenant_suspended");
    assert_eq!(send(&admin, "billing.change_plan", plan()).await, "applied");
    assert_eq!(send(&service, "tenants.suspend", json!({})).await, "rejected:tenant_suspended");
    assert_eq!(send(&service, "tenants.resume", json!({})).await, "applied");
    assert_eq!(send(&admin, "projects.create", project()).await, "applied");
    assert_eq!(send(&service, "tenants.close", json!({})).await, "applied");
    for command in [("projects.create", project()), ("billing.change_plan", plan())] {
        assert_eq!(send(&admin, command.0, command.1).await, "rejected:tenant_closed");
    }
    assert_eq!(send(&service, "tenants.resume", json!({})).await, "rejected:tenant_closed");
    assert_eq!(world.count("select count(*) from app.projects where org_id = 'acme'").await, 3, "rows were not kept");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_before_its_tenant_waits_for_it() {
    let world = World::new().await;
    let (programs, url) = world.start_all_workers().await;
    let (user, signup) = (Caller::user("acme", "u1", "editor"), Caller::service("acme", "s", "admin"));
    let early = world.command(&url, &user, "projects.create", "k1", &json!({ "name": "x" })).await;
    world.until_count("select count(*) from engine.parked where reason = 'tenant_unknown'", 1).await;
    let made = world.command(&url, &signup, "tenants.create", "k2", &json!({ "name": "Acme" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    assert_eq!(world.outcome("acme", &early).await, "applied");
    world.finish(Left::default()).await;
    drop(programs);
}
