//! Every command with every role, through HTTP and straight through the queue, against a golden matrix.

use std::fmt::Write as _;

use hyper::Method;
use millrace::contract::Field;
use millrace_tests::{Caller, Left, World, golden};
use serde_json::{Value, json};

/// Named in the matrix; `none` has no role claim, `owner` is a role nobody knows.
const PRINCIPALS: [&str; 7] = ["admin", "editor", "viewer", "none", "owner", "service admin", "service viewer"];
const READS: [&str; 6] = ["projects", "settings", "members", "billing", "limits", "audit"];
const PROJECT: &str = "00000000-0000-7000-8000-000000000001";

fn principal(name: &str, org: &str) -> Caller {
    match name {
        "none" => Caller { role: None, ..Caller::user(org, "u", "") },
        "service admin" => Caller::service(org, "s", "admin"),
        "service viewer" => Caller::service(org, "s", "viewer"),
        "admin" => Caller::user(org, "u", "admin"),
        "editor" => Caller::user(org, "u", "editor"),
        "viewer" => Caller::user(org, "u", "viewer"),
        _ => Caller::user(org, "u", "owner"),
    }
}

/// A body that each command can apply to a tenant as [`seed`] makes it.
fn body(command: &str, org: &str) -> Value {
    match command {
        "projects.create" => json!({ "name": "x" }),
        "projects.rename" => json!({ "id": PROJECT, "name": "y" }),
        "projects.archive" | "projects.delete" => json!({ "id": PROJECT }),
        "settings.update" => json!({ "values": { "theme": "dark" } }),
        "members.set_role" => json!({ "user_id": "other", "role": "viewer" }),
        "members.remove" => json!({ "user_id": "other" }),
        "billing.change_plan" => json!({ "plan": "pro" }),
        "billing.override_access" => json!({ "level": "grace" }),
        "billing.link_customer" => json!({ "provider": "stripe", "customer": format!("cus_{org}") }),
        "compliance.erase" => json!({ "user_id": "other" }),
        "compliance.export" => json!({ "scope": "org" }),
        "compliance.cancel_erasure" => json!({ "erasure_id": PROJECT }),
        "tenants.create" => json!({ "name": "Acme" }),
        "tenants.suspend" | "tenants.resume" | "tenants.close" => json!({}),
        other => panic!("the matrix has no body for {other}: add one"),
    }
}

/// A tenant of its own for one cell, so that cells do not meet.
async fn seed(world: &World, command: &str, org: &str) {
    if command == "tenants.create" {
        return;
    }
    let state = if command == "tenants.resume" { "suspended" } else { "active" };
    world
        .execute(&format!(
            "INSERT INTO app.tenants (org_id, name, plan, state) VALUES ('{org}', 'x', 'enterprise', '{state}');
             INSERT INTO app.projects (org_id, id, name) VALUES ('{org}', '{PROJECT}', 'x');
             INSERT INTO app.subjects (org_id, subject) VALUES ('{org}', 'other');
             INSERT INTO app.erasures (org_id, id, subject, pseudonym, plan, due_at)
               VALUES ('{org}', '{PROJECT}', 'another', gen_random_uuid(), '{{}}', now() + interval '1 day');
             INSERT INTO app.usage_counters (org_id, metric, used) VALUES ('{org}', 'projects', 1)"
        ))
        .await;
}

/// One cell of the matrix, sent and not yet settled.
struct Cell {
    org: String,
    /// What the edge said, where it refused.
    refused: Option<String>,
    message: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_is_what_the_golden_matrix_says_through_http_and_through_the_queue() {
    let world = World::new().await;
    let (programs, url) = world.start_all_workers().await;
    let contract = millrace::builtin().check().expect("a contract");
    let commands: Vec<(String, String)> =
        contract.commands().map(|entry| (entry.name.to_string(), entry.worker.to_string())).collect();
    let mut rows = Vec::new();
    for (number, (command, worker)) in commands.iter().enumerate() {
        for name in PRINCIPALS {
            let org = |way: &str| format!("{way}-{number}-{}", name.replace(' ', "-"));
            let http = over_http(&world, &url, command, principal(name, &org("http"))).await;
            let queue = over_amqp(&world, command, worker, principal(name, &org("amqp"))).await;
            rows.push((command, name, http, queue));
        }
    }
    let mut matrix = String::from("| command | principal | HTTP | queue |\n|---|---|---|---|\n");
    for (command, name, http, queue) in rows {
        let through_http = settled(&world, http).await;
        let through_queue = settled(&world, queue).await;
        writeln!(matrix, "| {command} | {name} | {through_http} | {through_queue} |").expect("a line");
    }
    matrix.push_str("\n| read | principal | HTTP |\n|---|---|---|\n");
    for path in READS {
        for name in PRINCIPALS {
            let org = format!("read-{path}-{}", name.replace(' ', "-"));
            seed(&world, "read", &org).await;
            let answer = over_get(&world, &url, path, &principal(name, &org)).await;
            writeln!(matrix, "| {path} | {name} | {answer} |").expect("a line");
        }
    }
    golden("tests/promises/golden/role_matrix.md", &matrix);
    // Each refusal of somebody known has its line, up to the rate of one principal, of which there is one for each cell.
    let forbidden = matrix.matches("| 403 forbidden |").count() + matrix.matches("| 403 role_table |").count();
    let denied = matrix.matches("| denied:").count();
    world.until_lines("denied", forbidden + denied).await;
    assert_eq!(world.count("select count(*) from engine.operations where command = 'edge.refused'").await, 0);
    world.finish(Left::default()).await;
    drop(programs);
}

async fn over_get(world: &World, url: &str, path: &str, caller: &Caller) -> String {
    let bearer = format!("Bearer {}", caller.token());
    let url = format!("{url}/api/{path}");
    let answer =
        world.http().send(Method::GET, &url, &[("authorization", &bearer)], Vec::new()).await.expect("an answer");
    format!("{} {}", answer.status, answer.code()).trim_end().to_owned()
}

async fn over_http(world: &World, url: &str, command: &str, caller: Caller) -> Cell {
    seed(world, command, &caller.org).await;
    let body = body(command, &caller.org);
    let answer = world.post_command(url, &caller.token(), command, "k", &body).await.expect("an answer");
    let accepted: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let message =
        accepted["operation"].as_str().and_then(|id| id.strip_prefix("op_")?.rsplit_once('_')).map(|(id, _)| id);
    let refused = (answer.status != 202).then(|| format!("{} {}", answer.status, answer.code()));
    Cell { org: caller.org, refused, message: message.unwrap_or_default().to_owned() }
}

async fn over_amqp(world: &World, command: &str, worker: &str, caller: Caller) -> Cell {
    seed(world, command, &caller.org).await;
    let wire = world.sealed(&caller, command, "k", &body(command, &caller.org));
    world.enqueue(worker, &wire).await;
    Cell { org: caller.org, refused: None, message: wire.get(Field::MessageId).expect("an id").to_owned() }
}

async fn settled(world: &World, cell: Cell) -> String {
    match cell.refused {
        Some(refused) => refused,
        None => world.outcome(&cell.org, &cell.message).await,
    }
}
