//! A crate outside the workspace adds its own command, worker and table, and nothing of Millrace changes for it.

mod additions;
mod build;
mod papers;
mod releases;

use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use millrace::contract::{Lane, Topology, WorkerName};
use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::isolation::{REFUSED, context, run_as};

use build::Adopter;

const HELPDESK_SECRET: &str = "only for tests";

#[tokio::test(flavor = "multi_thread")]
async fn a_crate_of_ones_own_settles_its_command_under_every_promise_and_changes_nothing_of_millrace() {
    let before = build::tree();
    let adopter = Adopter::copied_and_built();
    let world = World::new().await;
    grant(&world);
    let environment = [world.environment(), vec![world.management().await]].concat();
    let applied = adopter.cli(&["migrate"], &environment).await;
    assert!(applied.contains("1 of them your own"), "{applied}");
    adopter.cli(&["migrate"], &environment).await;
    adopter.cli(&["topology"], &environment).await;
    for org in ["acme", "globex"] {
        adopter.cli(&["tenants", "create", org], &environment).await;
    }
    let link = ["tenants", "link", "globex", "--provider", "helpdesk", "--customer", "acct_1", "--live"];
    adopter.cli(&link, &environment).await;
    world.listen("listener", "tickets.created").await;

    let worker = world.start(&adopter.program("millrace-tickets"));
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let mut edge = world.start(&adopter.program("millrace-ingress"));
    let addresses: Value = serde_json::from_str(&edge.first_line().await).expect("addresses");
    let url = format!("http://{}", addresses["listening"].as_str().expect("an address"));
    let ticket = json!({ "subject": "The printer is on fire" });
    post(&world, &url, "acme", "k1", ticket.clone()).await;
    send(&world, "acme", "k1", ticket.clone()).await;
    send(&world, "globex", "k1", ticket).await;
    send(&world, "acme", "k2", json!({ "subject": "Now!", "urgent": true })).await;

    hear(&world, &url).await;

    world.until_count("select count(*) from app.tickets", 3).await;
    world.until_lines("applied", 3).await;
    world.until_lines("rejected", 1).await;
    let lines = world.lines();
    let applied = lines.iter().find(|line| line["org_id"] == "acme" && line["outcome"] == "applied");
    let applied = applied.expect("the audit line of acme's ticket");
    assert_eq!(applied["action"], "tickets.create");
    assert_eq!(applied["resource_type"], "ticket");
    assert_eq!(applied["actor_id"], world.actor("acme", "u1").await);
    assert!(lines.iter().any(|line| line["outcome"] == "rejected" && line["metadata"]["code"] == "plan_limit"));
    let used = "select used from app.usage_counters where org_id = 'acme' and metric = 'tickets'";
    assert_eq!(world.count(used).await, 1);
    eventually("all events arrived", async || (world.depth("listener").await == 3).then_some(())).await;
    isolated(&world).await;

    // The papers and the proof cover what it adds, unasked.
    for (command, part) in [
        ("openapi", "/api/commands/tickets.create"),
        ("roles", "ticket"),
        ("asyncapi", "tickets.created"),
        ("coverage", "app.tickets.subject"),
    ] {
        assert!(adopter.cli(&[command], &environment).await.contains(part), "{command} knows no {part}");
    }
    let admin =
        ("MILLRACE_ADMIN_DATABASE_URL".to_owned(), world.servers().postgres.lock().await.superuser_url("postgres"));
    let proof = adopter.cli(&["prove", "--json"], &[&environment[..], &[admin]].concat()).await;
    assert!(proof.contains(r#""app.tickets":{"#), "the proof knows no app.tickets: {proof}");
    assert_eq!(edge.terminate().await, 0);
    assert_eq!(worker.terminate().await, 0);
    let tickets = WorkerName::parse("tickets").expect("a worker");
    for lane in Lane::ALL {
        assert_eq!(world.depth(&Topology::work_queue(&tickets, lane)).await, 0);
    }
    world.finish(Left::default()).await;
    drop(others);
    assert_eq!(build::tree(), before, "building and running the crate changed Millrace's tree");
}

/// A worker whose key lacks the adopter's event says so, and does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_is_told_before_the_worker_starts() {
    let adopter = Adopter::copied_and_built();
    let world = World::new().await;
    let mut worker = world.start(&adopter.program("millrace-tickets"));
    assert_eq!(worker.wait().await, 64);
    assert!(worker.log_text().contains("tickets.created"), "{}", worker.log_text());
    world.finish(Left::default()).await;
}

/// One event of the configured source, twice, signed as its section says.
async fn hear(world: &World, edge: &str) {
    let body = json!({ "id": "h-1", "account": "acct_1", "subject": "No sound", "more": [1.5, null] }).to_string();
    let time = time::OffsetDateTime::now_utc().unix_timestamp().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(HELPDESK_SECRET.as_bytes()).expect("a key");
    mac.update(format!("{time}.{body}").as_bytes());
    let good = hex::encode(mac.finalize().into_bytes());
    let forged = "0".repeat(64);
    for (signature, status) in [(&good, 200), (&forged, 400), (&good, 200)] {
        let headers = [("x-helpdesk-signature", signature.as_str()), ("x-helpdesk-timestamp", &time)];
        let url = format!("{edge}/api/webhooks/helpdesk");
        let answer = world.http().send(Method::POST, &url, &headers, body.clone().into_bytes()).await;
        assert_eq!(answer.expect("an answer").status, status);
    }
}

/// Gives the world's keys the grants that the adopter's README asks for.
fn grant(world: &World) {
    let path = world.config_path();
    let mut toml = std::fs::read_to_string(&path).expect("the configuration");
    // Each stands in the grant of one key alone.
    for (beside, added) in
        [("edge.refused", "tickets.create\", \"helpdesk.event"), ("billing.plan_changed", "tickets.created")]
    {
        let (beside, added) = (format!("\"{beside}\","), format!("\"{added}\","));
        assert_eq!(toml.matches(&beside).count(), 1, "{beside} is granted otherwise");
        toml = toml.replace(&beside, &format!("{beside} {added}"));
    }
    let readme = include_str!("../adopter/README.md");
    let source = readme.lines().skip_while(|line| !line.contains("[sources.helpdesk]"));
    let source: Vec<&str> = source.take_while(|line| !line.contains("```")).map(str::trim).collect();
    assert!(source.len() > 5, "the README's section of the source is not there");
    std::fs::write(path.with_file_name("keys").join("helpdesk"), HELPDESK_SECRET).expect("a secret");
    std::fs::write(path, format!("{toml}\n{}\n", source.join("\n"))).expect("the configuration");
}

/// Sends a ticket of an editor straight into the worker's queue, sealed with the edge's key.
async fn send(world: &World, org: &str, key: &str, body: Value) {
    let wire = world.sealed(&Caller::user(org, "u1", "editor"), "tickets.create", key, &body);
    world.enqueue("tickets", &wire).await;
}

/// Sends the same over HTTP through the adopter's edge, until that has a broker.
async fn post(world: &World, edge: &str, org: &str, key: &str, body: Value) {
    let token = Caller::user(org, "u1", "editor").token();
    eventually("the edge takes the command", async || {
        let answer = world.post_command(edge, &token, "tickets.create", key, &body).await?;
        (answer.status == 202).then_some(())
    })
    .await
}

/// The adopter's table, as the role of the workers sees it: one tenant at a time, or nothing.
async fn isolated(world: &World) {
    let mut app = PgConnection::connect(&world.role_url("millrace_app").await).await.expect("a connection");
    let acme = context(world, "acme");
    for (scope, statement, wanted) in [
        ("", "SELECT * FROM app.tickets", Ok(0)),
        ("", "DELETE FROM app.tickets", Ok(0)),
        (acme.as_str(), "SELECT * FROM app.tickets", Ok(1)),
        (&acme, "SELECT * FROM app.tickets WHERE org_id = 'globex'", Ok(0)),
        (&acme, "UPDATE app.tickets SET subject = 'x' WHERE org_id = 'globex'", Ok(0)),
        (&acme, "DELETE FROM app.tickets WHERE org_id = 'globex'", Ok(0)),
        (&acme, "UPDATE app.tickets SET org_id = 'globex'", Err(REFUSED.to_owned())),
        (
            &acme,
            "INSERT INTO app.tickets (org_id, id, subject, urgent) VALUES ('globex', gen_random_uuid(), 'x', false)",
            Err(REFUSED.to_owned()),
        ),
    ] {
        assert_eq!(run_as(&mut app, scope, statement).await, wanted, "{statement} within {scope:?}");
    }
    assert_eq!(world.count("select count(*) from app.tickets where org_id = 'globex'").await, 2);
}
