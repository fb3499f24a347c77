//! What happens to an export meanwhile: a person is erased, the store is away, two run side by side.

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::json;

use super::{ask, fetch, files, get, objects, ready, rows, settled, store, until, verified};

const BOB: &str = "bob@acme.test";

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_a_person_takes_every_export_of_the_tenant_along() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    world.cli(&["tenants", "create", "acme"]).await;
    world
        .execute(&format!(
            "INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', '{BOB}', 'editor'), ('acme', 'carl', 'viewer');
             INSERT INTO app.usage_counters (org_id, metric, used) VALUES ('acme', 'members', 2)"
        ))
        .await;
    let (programs, url) = world.start_all_workers().await;
    let ann = Caller::user("acme", "ann", "admin");
    let whole = ask(&world, &url, &ann, "e1", None).await;
    let of_bob = ask(&world, &url, &ann, "e2", Some(BOB)).await;
    let of_carl = ask(&world, &url, &ann, "e3", Some("carl")).await;
    for place in [&whole, &of_bob, &of_carl] {
        ready(&world, place, &ann).await;
        assert_eq!(get(&world, &format!("{place}/export"), &ann).await.status, 200);
    }
    let erase = world.command(&url, &ann, "compliance.erase", "x1", &json!({ "user_id": BOB })).await;
    assert_eq!(world.outcome("acme", &erase).await, "applied");
    world.until_count("select count(*) from app.erasures where state = 'executed'", 1).await;
    // Carl's may name him as well: nobody looks.
    for place in [&whole, &of_bob, &of_carl] {
        let gone = get(&world, &format!("{place}/export"), &ann).await;
        assert_eq!((gone.status, gone.code().as_str()), (410, "export_revoked"));
    }
    assert_eq!(world.count(&format!("select count(*) from app.exports where subject = '{BOB}'")).await, 0);
    // Their objects go when no page can be under way any more, in 15 minutes; the test does not wait for that.
    let soon = "select count(*) from engine.due where message_type = 'compliance.expire_export'
                and due_at < now() + interval '16 minutes'";
    assert_eq!(world.count(soon).await, 3);
    world.execute("UPDATE engine.due SET due_at = now() WHERE due_at < now() + interval '16 minutes'").await;
    eventually("the objects are gone", async || {
        let folders = std::fs::read_dir(store(&world)).expect("the store").count();
        (folders == 0).then_some(())
    })
    .await;
    world.until_count("select count(*) from app.exports where state = 'revoked'", 3).await;

    // It does not count as today's, and the next one has nobody who was erased.
    let place = ask(&world, &url, &ann, "e4", None).await;
    ready(&world, &place, &ann).await;
    let archive = fetch(&world, &place, &ann).await;
    assert!(!String::from_utf8_lossy(&archive).contains(BOB), "an erased person is in an export");
    assert_eq!(rows(&files(&archive), "app.members").len(), 1);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_stops_an_export_that_is_under_way() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    world
        .execute(
            "INSERT INTO app.projects (org_id, id, name)
             SELECT 'acme', gen_random_uuid(), 'project ' || n FROM generate_series(1, 20000) AS n",
        )
        .await;
    let (programs, url) = world.start_all().await;
    let chaos = ("MILLRACE_CHAOS".to_owned(), "abort@after_call:4".to_owned());
    let mut worker = world.start_with("millrace-compliance", &[chaos]);
    let ann = Caller::user("acme", "ann", "admin");
    let place = ask(&world, &url, &ann, "e1", None).await;
    eventually("it ends on the way", async || (!worker.is_running()).then_some(())).await;
    assert!(objects(&world) > 0);
    world
        .execute("INSERT INTO app.removed_members (org_id, subject, erased_at) VALUES ('acme', sha256('x'), now())")
        .await;
    let worker = world.start("millrace-compliance");
    // The page that comes again finds that it is over, and takes along what the dead process had written.
    eventually("nothing is left of it", async || (objects(&world) == 0).then_some(())).await;
    let ended = until(&world, &place, &ann, "it is revoked", |found| found["export"]["state"] == "revoked").await;
    assert_eq!(ended["export"]["finished_at"], json!(null));
    assert_eq!(get(&world, &format!("{place}/export"), &ann).await.code(), "export_revoked");
    world.finish(Left::default()).await;
    drop((programs, worker));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_waits_uncounted_for_a_store_that_takes_nothing() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    // Nobody, not even root, makes a folder below a file.
    std::fs::write(store(&world), "in the way").expect("a file");
    let (programs, url) = world.start_all_workers().await;
    let ann = Caller::user("acme", "ann", "admin");
    let place = ask(&world, &url, &ann, "e1", None).await;
    assert_eq!(settled(&world, &place, &ann).await["export"]["state"], "running");
    let waits = "select count(*) from engine.parked where reason = 'export_store_away' and attempts = 0 and waits > 1";
    eventually("it has waited twice", async || {
        world
            .execute("UPDATE engine.parked SET not_before = now() WHERE not_before < now() + interval '30 minutes'")
            .await;
        (world.count(waits).await == 1).then_some(())
    })
    .await;
    std::fs::remove_file(store(&world)).expect("the file");
    eventually("it goes on", async || {
        world
            .execute("UPDATE engine.parked SET not_before = now() WHERE not_before < now() + interval '30 minutes'")
            .await;
        (world.count("select count(*) from app.exports where state = 'ready'").await == 1).then_some(())
    })
    .await;
    assert_eq!(verified(&world, &fetch(&world, &place, &ann).await).await.0, 0);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_of_several_tenants_and_scopes_run_side_by_side() {
    let world = World::new().await;
    let orgs = ["a", "b", "c"];
    for org in orgs {
        world.cli(&["tenants", "create", org]).await;
        world
            .execute(&format!(
                "INSERT INTO app.projects (org_id, id, name)
                   SELECT '{org}', gen_random_uuid(), 'of {org}' FROM generate_series(1, 5000);
                 INSERT INTO app.members (org_id, user_id, role) VALUES ('{org}', 'u', 'editor')"
            ))
            .await;
    }
    let (mut programs, url) = world.start_all_workers().await;
    programs.push(world.start("millrace-compliance"));
    let root = |org: &str| Caller::user(org, "root", "admin");
    let mut places = Vec::new();
    for org in orgs {
        places.push((org, ask(&world, &url, &root(org), "e1", None).await));
        let person = ask(&world, &url, &root(org), "e2", Some("u")).await;
        places.push((org, person));
    }
    for (number, (org, place)) in places.iter().enumerate() {
        ready(&world, place, &root(org)).await;
        let archive = fetch(&world, place, &root(org)).await;
        assert_eq!(verified(&world, &archive).await.0, 0, "{org}");
        let files = files(&archive);
        if number % 2 == 0 {
            let projects = rows(&files, "app.projects");
            assert_eq!(projects.len(), 5_000);
            assert!(projects.iter().all(|row| row["name"] == format!("of {org}")));
        } else {
            assert_eq!(rows(&files, "app.members").len(), 1);
        }
    }
    world.finish(Left::default()).await;
    drop(programs);
}
