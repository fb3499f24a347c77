//! Whoever sent a command can ask what became of it; nobody else learns that it was ever sent.

use std::time::Instant;

use hyper::Method;
use millrace::contract::{MessageId, TenantId, Timestamp};
use millrace_cli::local::Stop;
use millrace_tests::{Answer, Caller, Left, World, eventually};
use serde_json::{Value, json};
use time::OffsetDateTime;

async fn get(world: &World, url: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    world.http().send(Method::GET, url, &[("authorization", &bearer)], Vec::new()).await.expect("an answer")
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The place that a 202 names.
async fn sent(world: &World, url: &str, caller: &Caller, command: &str, key: &str, payload: &Value) -> String {
    let answer = world.post_command(url, &caller.token(), command, key, payload).await.expect("an answer");
    assert_eq!((answer.status, body(&answer)["status"].as_str()), (202, Some("pending")));
    let place = answer.headers["location"].to_str().expect("a place");
    assert_eq!(place, format!("/api/operations/{}", body(&answer)["operation"].as_str().expect("an id")));
    format!("{url}{place}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_pending_until_it_is_settled_and_only_for_its_tenant() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, url) = world.start_all().await;
    let editor = Caller::user("acme", "u1", "editor");
    let place = sent(&world, &url, &editor, "projects.create", "k1", &json!({ "name": "x" })).await;
    assert_eq!(body(&get(&world, &place, &editor.token()).await)["status"], "pending");

    // The long poll is answered when the worker has settled it, not after its time.
    let began = Instant::now();
    let waits = format!("{place}?wait=10");
    let token = editor.token();
    let (answer, projects) = tokio::join!(get(&world, &waits, &token), async { world.start("millrace-projects") });
    assert_eq!(body(&answer)["status"], "applied", "{}", String::from_utf8_lossy(&answer.body));
    assert!(began.elapsed().as_secs() < 10, "it waited its whole time");
    assert_eq!(body(&answer)["resource_type"], "project");
    let id = body(&answer)["resource_id"].as_str().expect("an id").to_owned();

    let listed = body(&get(&world, &format!("{url}/api/projects"), &token).await);
    assert_eq!(listed["items"][0]["id"], json!(id));
    let gone = sent(&world, &url, &editor, "projects.archive", "k2", &json!({ "id": uuid::Uuid::nil() })).await;
    let rejected = body(&get(&world, &format!("{gone}?wait=10"), &token).await);
    assert_eq!((&rejected["status"], &rejected["code"]), (&json!("rejected"), &json!("project_not_found")));

    // Another tenant, a changed id and a made-up one look the same.
    let stranger = Caller::user("globex", "u1", "admin").token();
    let changed = place.replace("/op_", "/op_0");
    let made_up = format!("{url}/api/operations/op_{}_{}", uuid::Uuid::now_v7(), "00".repeat(12));
    for (place, token) in [(&place, &stranger), (&changed, &token), (&made_up, &token)] {
        let answer = get(&world, place, token).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{place}");
    }
    assert_eq!(body(&get(&world, &format!("{url}/api/projects"), &stranger).await)["items"], json!([]));
    for query in ["?wait=11", "?wait=-1", "?wait=x", "?other=1"] {
        assert_eq!(get(&world, &format!("{place}{query}"), &token).await.status, 422, "{query}");
    }
    assert_eq!(get(&world, &place, "x.y.z").await.status, 401);
    world.finish(Left::default()).await;
    drop((programs, projects));
}

/// An operation of `acme` as it was given so many days ago.
fn given(world: &World, message: &str, days: i64) -> String {
    let at = OffsetDateTime::now_utc() - time::Duration::days(days);
    let (org, message) = (TenantId::parse("acme").expect("a tenant"), MessageId::parse(message).expect("an id"));
    world.signer("ingress").operation(&org, &message, Timestamp::new(at)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_told_for_at_least_35_days_and_an_id_without_one_is_not_found_after() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    world
        .execute(
            "INSERT INTO engine.operations (org_id, publisher, message_id, command, outcome, code, settled_at)
             SELECT 'acme', 'ingress', 'm_' || days, 'projects.create', 'rejected', 'x', now() - days * interval '1 day'
             FROM unnest('{34,75}'::int[]) AS days",
        )
        .await;
    let (programs, url) = world.start_all().await;
    world.until_count("select count(*) from engine.operations", 1).await;
    let token = Caller::user("acme", "u1", "editor").token();
    for (message, days, wanted) in [
        ("m_34", 34, (200, "rejected")),
        // It was given before it was settled, and its outcome is still there.
        ("m_34", 40, (200, "rejected")),
        ("m_75", 75, (404, "")),
        ("m_nobody", 34, (200, "pending")),
        ("m_nobody", 36, (404, "")),
    ] {
        let place = format!("{url}/api/operations/{}?wait=0", given(&world, message, days));
        let answer = get(&world, &place, &token).await;
        let status = body(&answer)["status"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, status.as_str()), wanted, "{message}, {days} days");
    }
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_goes_on_while_reads_are_unavailable() {
    let mut world = World::alone().await;
    for rate in ["SOFT_RATE", "HARD_RATE"] {
        world.set(&format!("MILLRACE__LIMITS__{rate}"), "1000");
    }
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let projects = world.start("millrace-projects");
    let editor = Caller::user("acme", "u1", "editor");
    let list = format!("{url}/api/projects");
    eventually("reads are served", async || (get(&world, &list, &editor.token()).await.status == 200).then_some(()))
        .await;
    world.servers().postgres.lock().await.stop(Stop::Immediate).await;
    let place = sent(&world, &url, &editor, "projects.create", "k1", &json!({ "name": "x" })).await;
    let answer = get(&world, &list, &editor.token()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "reads_unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    world.servers().postgres.lock().await.start_again().await.expect("a start");
    eventually("the command is applied", async || {
        let answer = get(&world, &place, &editor.token()).await;
        (answer.status == 200 && body(&answer)["status"] == "applied").then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop((programs, projects));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_soft_rate_a_tenant_overflows_and_beyond_its_hard_rate_it_waits() {
    let mut world = World::new().await;
    world.set("MILLRACE__LIMITS__SOFT_RATE", "2");
    world.set("MILLRACE__LIMITS__HARD_RATE", "5");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, url) = world.start_all().await;
    let editor = Caller::user("acme", "u1", "editor");
    let mut refused = None;
    for n in 0..50 {
        let body = json!({ "name": "x" });
        let answer = world
            .post_command(&url, &editor.token(), "projects.create", &format!("k{n}"), &body)
            .await
            .expect("an answer");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 202);
    }
    let refused = refused.expect("the flood was never refused");
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.headers["retry-after"].to_str().expect("seconds").parse::<u32>().expect("seconds") >= 1);
    assert!(world.depth("work.projects.overflow").await > 0, "nothing overflowed");
    let polite = Caller::user("globex", "u1", "editor");
    sent(&world, &url, &polite, "projects.create", "k", &json!({ "name": "x" })).await;
    let projects = world.start("millrace-projects");
    eventually("the queues are empty", async || {
        (world.depth("work.projects.overflow").await + world.depth("work.projects.main").await == 0).then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop((programs, projects));
}
