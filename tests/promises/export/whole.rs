//! A large tenant: complete, its own, in constant memory, and through crashes.

use std::collections::BTreeSet;

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};

use super::{ask, fetch, files, manifest, no_row_is_there_twice, objects, peak, ready, rows, tables, verified};

/// In everything that the other tenant has.
const MARKER: &str = "globex-marker-7d1f";
const PROJECTS: i64 = 100_000;
/// How much more memory a large export may take than a small one, and an answer with an archive than none. All of the rows are
/// a third more than that, without what it takes to hold them.
const MORE_KIB: u64 = 24 << 10;
/// Objects after which the worker is killed.
const SOME: usize = 15;

/// Projects of a tenant, with names as long as names may be, so that all together weigh more than the bound.
async fn projects(world: &World, org: &str, count: i64) {
    world
        .execute(&format!(
            "INSERT INTO app.projects (org_id, id, name)
             SELECT '{org}', gen_random_uuid(), rpad('project ' || n, 200, 'x') FROM generate_series(1, {count}) AS n"
        ))
        .await;
}

/// Rows of the other tenant wherever there can be some.
async fn mark(world: &World) {
    world
        .execute(&format!(
            "INSERT INTO app.projects (org_id, id, name) SELECT 'globex', gen_random_uuid(), '{MARKER}' FROM generate_series(1, 500);
             INSERT INTO app.settings (org_id, entries) VALUES ('globex', '{{\"{MARKER}\": \"{MARKER}\"}}');
             INSERT INTO app.members (org_id, user_id, role) VALUES ('globex', '{MARKER}', 'editor');
             INSERT INTO app.subjects (org_id, subject) VALUES ('globex', '{MARKER}');
             INSERT INTO engine.provider_links VALUES ('stripe', '', false, '{MARKER}', 'globex'), ('stripe', '', false, 'cus_1', 'acme');
             INSERT INTO engine.holds (org_id, id, matter, placed_by)
               VALUES ('globex', gen_random_uuid(), '{MARKER}', 'ops'), ('acme', gen_random_uuid(), 'M-1', 'ops');
             INSERT INTO engine.operations VALUES ('globex', 'ingress', '{MARKER}', 'x.y', 'applied', NULL, 'project', '{MARKER}', now());
             UPDATE app.tenants SET name = '{MARKER}' WHERE org_id = 'globex'"
        ))
        .await;
    // A dead letter of it, with its body.
    let theirs = Caller::user("globex", MARKER, "admin");
    world.enqueue("projects", &world.sealed(&theirs, "projects.create", "d1", &json!({ "no": MARKER }))).await;
}

async fn ids(world: &World, org: &str) -> BTreeSet<String> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT id::text FROM app.projects WHERE org_id = $1")
        .bind(org)
        .fetch_all(world.superuser())
        .await
        .expect("ids");
    ids.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tenant_is_exported_whole_and_alone_in_constant_memory_through_a_kill() {
    let world = World::new().await;
    for org in ["acme", "globex", "tiny"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "settings"].map(|worker| world.start(&format!("millrace-{worker}"))));
    mark(&world).await;
    world.until_count("select count(*) from engine.dead_letters", 1).await;
    projects(&world, "acme", PROJECTS).await;
    projects(&world, "tiny", 10).await;

    let worker = world.start("millrace-compliance");
    let root = Caller::user("tiny", "root", "admin");
    let place = ask(&world, &url, &root, "e1", None).await;
    ready(&world, &place, &root).await;
    assert_eq!(rows(&files(&fetch(&world, &place, &root).await), "app.projects").len(), 10);
    let small = peak(&worker);
    let sending = peak(&programs[0]);

    let ann = Caller::user("acme", "ann", "admin");
    // Something of its own in the engine and in the audit log.
    let set = world.command(&url, &ann, "settings.update", "s1", &json!({ "values": { "theme": "dark" } })).await;
    assert_eq!(world.outcome("acme", &set).await, "applied");
    let lines = "select count(*) from app.audit_index where org_id = 'acme' and action = 'settings.update'";
    world.until_count(lines, 1).await;
    let before = objects(&world);
    let place = ask(&world, &url, &ann, "e1", None).await;
    eventually("some pages are in the store", async || (objects(&world) >= before + SOME).then_some(())).await;
    worker.kill().await;
    let worker = world.start("millrace-compliance");
    let done = ready(&world, &place, &ann).await;
    assert!(done["export"]["rows"].as_i64().expect("rows") >= PROJECTS, "{done}");
    let large = peak(&worker);
    assert!(large < small + MORE_KIB, "a large export took {large} KiB, a small one {small} KiB");

    let archive = fetch(&world, &place, &ann).await;
    assert!(archive.len() as u64 > (MORE_KIB << 10) * 4 / 3, "the bound says nothing about {} bytes", archive.len());
    let sent = peak(&programs[0]);
    assert!(sent < sending + MORE_KIB, "sending took {sent} KiB, before {sending} KiB");
    let files = files(&archive);
    let found: Vec<String> =
        rows(&files, "app.projects").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(found.len() as i64, PROJECTS, "no row twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), ids(&world, "acme").await);
    no_row_is_there_twice(&files);
    for (name, content) in &files {
        assert!(memmem(content, MARKER.as_bytes()).is_none(), "another tenant's marker stands in {name}");
    }
    let engine = ["engine.holds", "engine.operations", "engine.provider_links"];
    for table in ["app.tenants", "app.audit_index", "app.exports", "app.settings"].into_iter().chain(engine) {
        assert!(tables(&files).contains(table), "{table} has no rows: {:?}", tables(&files));
    }
    assert!(rows(&files, "app.tenants").iter().all(|row| row["org_id"] == "acme"));
    complete(&manifest(&files));

    let (code, said) = verified(&world, &archive).await;
    assert_eq!((code, &said["result"], &said["org_id"]), (0, &json!("valid"), &json!("acme")), "{said}");
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop((programs, worker));
}

/// What every manifest says.
fn complete(manifest: &Value) {
    assert!(manifest["no_snapshot"].as_str().expect("words").contains("no snapshot"));
    let names = |key: &str| -> BTreeSet<&str> {
        manifest[key].as_array().expect("tables").iter().map(|table| table["table"].as_str().expect("a name")).collect()
    };
    let (tables, left_out) = (names("tables"), names("left_out"));
    assert!(tables.is_disjoint(&left_out));
    for table in ["app.projects", "app.settings", "app.members", "engine.dead_letters", "engine.provider_links"] {
        assert!(tables.contains(table), "{table} is not in {tables:?}");
    }
    for table in ["engine.parked", "engine.outbox", "engine.due", "engine.inbox_a", "engine.holds"] {
        assert!(left_out.contains(table) != tables.contains(table), "{table} is neither exported nor excused");
    }
    let reasons = manifest["left_out"].as_array().expect("tables").iter();
    assert!(reasons.clone().all(|table| !table["reason"].as_str().expect("a reason").is_empty()));
    let removed =
        manifest["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "app.removed_members");
    let excused = &removed.expect("the table")["excused"][0];
    assert_eq!(excused["column"], "subject");
    assert!(!excused["reason"].as_str().expect("a reason").is_empty());
}

fn memmem(content: &[u8], wanted: &[u8]) -> Option<usize> {
    content.windows(wanted.len()).position(|window| window == wanted)
}

/// Where a page can be broken off, and how often the point is passed first.
const POINTS: [(&str, u32); 8] = [
    ("after_claim", 2),
    ("after_call", 1),
    ("after_call", 2),
    ("before_commit", 2),
    ("after_commit", 2),
    ("before_ack", 3),
    ("before_publish", 2),
    ("before_commit", 3),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_whatever_point_its_worker_ends_at() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    projects(&world, "acme", 24_000).await;
    let ann = Caller::user("acme", "ann", "admin");
    let place = ask(&world, &url, &ann, "e1", None).await;
    for (point, passed) in POINTS {
        let chaos = ("MILLRACE_CHAOS".to_owned(), format!("abort@{point}:{passed}"));
        let mut worker = world.start_with("millrace-compliance", &[chaos]);
        eventually(&format!("it ends at {point}"), async || (!worker.is_running()).then_some(())).await;
    }
    let running = world.count("select count(*) from app.exports where state = 'running'").await;
    assert_eq!(running, 1, "it was over before the last point");
    let worker = world.start("millrace-compliance");
    ready(&world, &place, &ann).await;
    let archive = fetch(&world, &place, &ann).await;
    let files = files(&archive);
    let found: Vec<String> =
        rows(&files, "app.projects").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(found.len(), 24_000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), ids(&world, "acme").await);
    no_row_is_there_twice(&files);
    assert_eq!(verified(&world, &archive).await.0, 0);
    world.finish(Left::default()).await;
    drop((programs, worker));
}
