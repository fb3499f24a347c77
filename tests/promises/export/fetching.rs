//! Who may ask for an export and fetch it, for how long, and how often.

use hyper::Method;
use millrace_tests::{Caller, Left, World, eventually, run_cli};
use serde_json::json;

use super::{ask, fetch, get, objects, public_key, ready, request, settled, verified};

const EXPIRE: &str = "UPDATE engine.due SET due_at = now() WHERE message_type = 'compliance.expire_export'";

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_for_administrators_of_its_tenant_for_seven_days_once_a_day() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, url) = world.start_all_workers().await;
    let ann = Caller::user("acme", "ann", "admin");
    for role in ["editor", "viewer"] {
        let caller = Caller::user("acme", "ed", role);
        let refused = request(&world, &url, &caller, "e", &json!({ "scope": "org" })).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    }
    let wrong = request(&world, &url, &ann, "e", &json!({ "scope": "subject" })).await;
    assert_eq!(wrong.status, 422);
    let place = ask(&world, &url, &ann, "e1", None).await;
    let done = ready(&world, &place, &ann).await;
    let archive = fetch(&world, &place, &ann).await;
    assert_eq!(verified(&world, &archive).await.0, 0);
    // The audit log vouches for the manifest.
    let manifest = &super::files(&archive)["manifest.json"];
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(manifest));
    eventually("the line has the manifest's hash", async || {
        world.lines().iter().any(|line| line["metadata"]["certificate_sha256"] == hash.as_str()).then_some(())
    })
    .await;

    let path = format!("{place}/export");
    others_do_not_fetch(&world, &path).await;
    let other = world.command(&url, &ann, "settings.update", "s", &json!({ "values": { "theme": "dark" } })).await;
    assert_eq!(world.outcome("acme", &other).await, "applied");

    let twice = settled(&world, &ask(&world, &url, &ann, "e2", None).await, &ann).await;
    assert_eq!((&twice["status"], &twice["code"]), (&json!("rejected"), &json!("export_made_today")));
    assert_eq!(ask(&world, &url, &ann, "e1", None).await, place, "the same request is the same export");
    let theirs = Caller::user("globex", "root", "admin");
    ready(&world, &ask(&world, &url, &theirs, "e1", None).await, &theirs).await;

    world.execute("UPDATE app.exports SET state = 'running'").await;
    let early = get(&world, &path, &ann).await;
    assert_eq!((early.status, early.code().as_str()), (409, "export_not_ready"));
    let id = done["resource_id"].as_str().expect("an id");
    world.execute("UPDATE app.exports SET state = 'ready'").await;
    world.execute(&format!("UPDATE app.exports SET expires_at = now() WHERE id = '{id}'")).await;
    let late = get(&world, &path, &ann).await;
    assert_eq!((late.status, late.code().as_str()), (410, "export_expired"));
    world.execute(EXPIRE).await;
    eventually("its objects are gone", async || (objects(&world) == 0).then_some(())).await;
    world.until_count("select count(*) from app.exports where state = 'expired'", 2).await;
    assert_eq!(get(&world, &path, &ann).await.status, 410);

    world.execute("UPDATE app.exports SET requested_at = requested_at - interval '1 day'").await;
    let place = ask(&world, &url, &ann, "e3", None).await;
    let third = ready(&world, &place, &ann).await;
    // Whose objects somebody has taken away is gone too; a store that is not there may come back.
    let folder = super::store(&world).join(third["resource_id"].as_str().expect("an id"));
    std::fs::remove_dir_all(folder).expect("its objects");
    let gone = get(&world, &format!("{place}/export"), &ann).await;
    assert_eq!((gone.status, gone.code().as_str()), (410, "export_expired"));
    std::fs::remove_dir_all(super::store(&world)).expect("the store");
    let away = get(&world, &format!("{place}/export"), &ann).await;
    assert_eq!((away.status, away.code().as_str()), (503, "export_store_unavailable"));
    assert!(away.headers.contains_key("retry-after"));
    world.finish(Left::default()).await;
    programs.clear();
}

/// Nobody but an administrator of the tenant gets it.
async fn others_do_not_fetch(world: &World, path: &str) {
    for (caller, status) in [
        (Caller::user("acme", "ed", "editor"), 403),
        (Caller::user("acme", "ed", "viewer"), 403),
        (Caller::user("globex", "ann", "admin"), 404),
    ] {
        assert_eq!(get(world, path, &caller).await.status, status);
    }
    assert_eq!(world.http().send(Method::GET, path, &[], Vec::new()).await.expect("an answer").status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_exports_a_closed_tenant_whose_members_are_refused() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "gone"]).await;
    world.execute("INSERT INTO app.projects (org_id, id, name) VALUES ('gone', gen_random_uuid(), 'last')").await;
    world.cli(&["tenants", "close", "gone", "--yes"]).await;
    let (programs, url) = world.start_all_workers().await;
    let root = Caller::user("gone", "root", "admin");
    let refused = settled(&world, &ask(&world, &url, &root, "e1", None).await, &root).await;
    assert_eq!((&refused["status"], &refused["code"]), (&json!("rejected"), &json!("tenant_closed")));

    let said = world.cli(&["--json", "export", "request", "gone"]).await;
    let asked: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let id = asked["export_id"].as_str().expect("an id").to_owned();
    world.until_count("select count(*) from app.exports where state = 'ready'", 1).await;
    let listed = world.cli(&["export", "list", "gone"]).await;
    assert!(listed.contains(&id) && listed.contains("ready"), "{listed}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gone.tar").display().to_string();
    world.cli(&["export", "fetch", "gone", &id, "--out", &file]).await;
    let said = world.cli(&["export", "verify", &file, "--key", &public_key(&world)]).await;
    assert!(said.contains("RESULT     VALID"), "{said}");
    let archive = super::files(&std::fs::read(&file).expect("the archive"));
    assert_eq!(super::rows(&archive, "app.projects")[0]["name"], "last");

    // What is changed is found, and nothing is overwritten.
    let mut bytes = std::fs::read(&file).expect("the archive");
    let at = bytes.windows(6).position(|window| window == b"\"last\"").expect("the project");
    bytes[at + 1] = b'p';
    let (code, said) = verified(&world, &bytes).await;
    assert_eq!((code, &said["fault"]), (1, &json!("file-altered")), "{said}");
    let (code, said) = verified(&world, &bytes[..bytes.len() / 2]).await;
    assert!(code == 2 || code == 1, "{said}");
    for (arguments, words) in [
        (["export", "fetch", "gone", &id, "--out", &file], "cannot create"),
        (["export", "fetch", "nobody", &id, "--out", "x"], "has no export"),
    ] {
        let output = run_cli(&arguments, &world.environment()).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}: {output:?}");
    }
    world.finish(Left::default()).await;
    drop(programs);
}
