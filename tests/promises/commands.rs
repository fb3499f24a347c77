//! A command is applied once however often it is sent, and its idempotency key stands for one body.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::Method;
use millrace_tests::{Caller, Left, Program, World};
use rand::seq::SliceRandom;
use serde_json::{Value, json};

const COMMANDS: usize = 1_000;
const COPIES: usize = 3;
const SENDERS: usize = 16;

/// A world whose tenant `acme` may have any number of projects, with rates out of the way.
async fn roomy() -> (World, Vec<Program>, String) {
    let mut world = World::new().await;
    for rate in ["SOFT_RATE", "HARD_RATE"] {
        world.set(&format!("MILLRACE__LIMITS__{rate}"), "1000000");
    }
    world.cli(&["tenants", "create", "acme"]).await;
    world.execute("UPDATE app.tenants SET plan = 'enterprise' WHERE org_id = 'acme'").await;
    let (programs, url) = world.start_all_workers().await;
    (world, programs, url)
}

/// Sends all of them in random order over several connections; returns the distinct message ids.
async fn send(world: &Arc<World>, url: &str, names: Vec<(String, String)>, copies: usize) -> HashSet<String> {
    let mut sends: Vec<_> = names.iter().flat_map(|name| std::iter::repeat_n(name.clone(), copies)).collect();
    sends.shuffle(&mut rand::rng());
    let mut senders = tokio::task::JoinSet::new();
    for share in sends.chunks(sends.len().div_ceil(SENDERS)) {
        let (world, url, share) = (Arc::clone(world), url.to_owned(), share.to_vec());
        senders.spawn(async move {
            let caller = Caller::user("acme", "u1", "editor");
            let mut ids = Vec::new();
            for (key, name) in &share {
                ids.push(world.command(&url, &caller, "projects.create", key, &json!({ "name": name })).await);
            }
            ids
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_three_times_each_are_a_thousand_effects_and_other_bodies_are_rejected() {
    let (world, programs, url) = roomy().await;
    let second = world.start("millrace-projects");
    let world = Arc::new(world);
    let named = |what: &str| (0..COMMANDS).map(|n| (format!("key-{n}"), format!("{what} {n}"))).collect();

    let operations = send(&world, &url, named("project"), COPIES).await;
    assert_eq!(operations.len(), COMMANDS);
    let settled = "select count(*) from engine.operations where outcome = 'applied'";
    world.until_count(settled, COMMANDS as i64).await;
    assert_eq!(world.count("select count(*) from app.projects").await, COMMANDS as i64, "an effect was doubled");
    world.until_lines("applied", COMMANDS).await;

    let others = send(&world, &url, named("another"), 1).await;
    assert_eq!(others.len(), COMMANDS);
    assert!(others.is_disjoint(&operations), "another body is another operation");
    let rejected = "select count(*) from engine.operations where code = 'idempotency_key_reused'";
    world.until_count(rejected, COMMANDS as i64).await;
    world.until_lines("rejected", COMMANDS).await;
    assert_eq!(world.count("select count(*) from app.projects").await, COMMANDS as i64);
    assert_eq!(world.count("select used from app.usage_counters").await, COMMANDS as i64);
    let ids: HashSet<String> = world.lines().iter().map(|line| line["event_id"].to_string()).collect();
    assert_eq!(ids.len(), world.lines().len(), "an audit line was doubled");
    Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop((programs, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_what_it_names_and_only_the_version_it_expects() {
    let (world, programs, url) = roomy().await;
    let editor = Caller::user("acme", "u1", "editor");
    let made = world.command(&url, &editor, "projects.create", "k1", &json!({ "name": "Apollo" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM app.projects").fetch_one(world.superuser()).await.expect("a project");
    let rename = |key: &'static str, version: &'static str, name: &'static str| {
        let (world, url, token) = (&world, &url, editor.token());
        async move {
            let bearer = format!("Bearer {token}");
            let headers = [
                ("authorization", bearer.as_str()),
                ("idempotency-key", key),
                ("content-type", "application/json"),
                ("if-match", version),
            ];
            let body = json!({ "id": id, "name": name }).to_string().into_bytes();
            let url = format!("{url}/api/commands/projects.rename");
            let answer = world.http().send(Method::POST, &url, &headers, body).await.expect("an answer");
            assert_eq!(answer.status, 202);
            let place = answer.headers["location"].to_str().expect("a place").to_owned();
            let message = place.trim_start_matches("/api/operations/op_").rsplit_once('_').expect("a tag").0.to_owned();
            world.outcome("acme", &message).await
        }
    };
    assert_eq!(rename("k2", "\"1\"", "Gemini").await, "applied");
    assert_eq!(rename("k3", "\"1\"", "Mercury").await, "rejected:version_conflict");
    let name = "select count(*) from app.projects where name = 'Gemini' and version = 2";
    assert_eq!(world.count(name).await, 1);
    for (command, key, body, outcome) in [
        ("projects.archive", "k4", json!({ "id": id }), "applied"),
        ("projects.rename", "k5", json!({ "id": id, "name": "x" }), "rejected:project_archived"),
        ("projects.delete", "k6", json!({ "id": id }), "denied"),
        ("settings.update", "k7", json!({ "values": { "theme": "dark", "beta": true, "old": null } }), "applied"),
        ("projects.archive", "k8", json!({ "id": uuid::Uuid::nil() }), "rejected:project_not_found"),
    ] {
        if outcome == "denied" {
            let answer = world.post_command(&url, &editor.token(), command, key, &body).await.expect("an answer");
            assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{command}");
            continue;
        }
        let message = world.command(&url, &editor, command, key, &body).await;
        assert_eq!(world.outcome("acme", &message).await, outcome, "{command}");
    }
    world.until_lines("denied", 1).await;
    let denied = world.lines().into_iter().find(|line| line["outcome"] == "denied").expect("a line");
    assert_eq!(
        (&denied["action"], &denied["actor_id"]),
        (&json!("projects.delete"), &json!(world.actor("acme", "u1").await))
    );
    let admin = Caller::user("acme", "u2", "admin");
    let gone = world.command(&url, &admin, "projects.delete", "k6", &json!({ "id": id })).await;
    assert_eq!(world.outcome("acme", &gone).await, "applied");
    assert_eq!(world.count("select count(*) from app.projects").await, 0);
    assert_eq!(world.count("select used from app.usage_counters where metric = 'projects'").await, 0);
    let settings: Value =
        sqlx::query_scalar("SELECT entries FROM app.settings").fetch_one(world.superuser()).await.expect("settings");
    assert_eq!(settings, json!({ "theme": "dark", "beta": true }));
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_problem_with_a_code_and_nothing_is_enqueued() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let token = Caller::user("acme", "u1", "editor").token();
    let bearer = format!("Bearer {token}");
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let long = json!({ "name": "x".repeat(201) }).to_string();
    let bodies: [(&[u8], &str); 13] = [
        (b"", "body"),
        (b"[]", "body"),
        (b"{\"name\":\"a\"} x", "body"),
        (b"{\"name\":\"a\",\"name\":\"b\"}", "body"),
        (b"{\"name\":\"\\u0000\"}", "body"),
        (b"{\"name\":\"\\ud800\"}", "body"),
        (b"{\"name\":\"\xff\"}", "body"),
        (b"{\"name\":1e999}", "body"),
        (deep.as_bytes(), "body"),
        (b"{}", "name"),
        (b"{\"name\":\"a\\nb\"}", "name"),
        (long.as_bytes(), "name"),
        (b"{\"name\":\"a\",\"org_id\":\"globex\"}", "org_id"),
    ];
    let path = format!("{url}/api/commands/projects.create");
    let post = async |headers: &[(&str, &str)], body: &[u8]| {
        world.http().send(Method::POST, &path, headers, body.to_vec()).await.expect("an answer")
    };
    let json_type = ("content-type", "application/json");
    for (body, field) in bodies {
        let answer = post(&[("authorization", &bearer), ("idempotency-key", "k"), json_type], body).await;
        let problem: Value = serde_json::from_slice(&answer.body).expect("a problem");
        assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(body));
        assert_eq!((&problem["code"], &problem["field"]), (&json!("invalid_payload"), &json!(field)));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let good = br#"{"name":"a"}"#;
    let authorization = ("authorization", bearer.as_str());
    for (headers, status, code) in [
        (vec![json_type, ("idempotency-key", "k")], 401, "unauthenticated"),
        (vec![("authorization", "Basic eDp5"), json_type, ("idempotency-key", "k")], 401, "unauthenticated"),
        (vec![authorization, json_type], 400, "invalid_idempotency_key"),
        (vec![authorization, json_type, ("idempotency-key", "a b")], 400, "invalid_idempotency_key"),
        (vec![authorization, ("content-type", "text/plain"), ("idempotency-key", "k")], 415, "unsupported_media_type"),
        (vec![authorization, json_type, ("idempotency-key", "k"), ("if-match", "*")], 400, "invalid_if_match"),
    ] {
        let answer = post(&headers, good).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers:?}");
    }
    for command in ["projects.Create", "projects.create/", "stripe.event", "edge.refused", "audit.event", "x", ""] {
        let headers = [authorization, json_type, ("idempotency-key", "k")];
        let unknown = format!("{url}/api/commands/{command}");
        let answer = world.http().send(Method::POST, &unknown, &headers, good.to_vec()).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{command}");
    }
    assert_eq!(world.depth("work.projects.main").await + world.depth("work.projects.overflow").await, 0);
    world.finish(Left::default()).await;
    drop(programs);
}
