//! Two releases of one worker, as a rolling upgrade with the senders first has them: what only the newer one knows waits for it,
//! uncounted, and is applied once.

use millrace::contract::{Envelope, Lane, WireMessage};
use millrace_tests::{Caller, Left, Program, World, eventually};
use serde_json::{Value, json};

use super::build::{Adopter, Release};
use super::{grant, hear};

/// Before the crate had a webhook.
const OLDER: Release = Release {
    number: 1,
    edits: &[
        ("src/lib.rs", "        .command::<HelpdeskEvent>()\n", ""),
        ("src/bin/tickets.rs", "handlers![CreateTicket, OpenFromHelpdesk]", "handlers![CreateTicket]"),
        ("src/bin/tickets.rs", "use ticketing::{CreateTicket, OpenFromHelpdesk};", "use ticketing::CreateTicket;"),
    ],
};

/// With a second version of the command.
const NEWER: Release = Release {
    number: 2,
    edits: &[(
        "src/payloads.rs",
        "const NAME: &'static str = \"tickets.create\";",
        "const NAME: &'static str = \"tickets.create\";\n    const SCHEMA_VERSION: u32 = 2;",
    )],
};

/// A ticket's message as a program of this version seals it.
fn ticket(world: &World, key: &str, schema_version: u32) -> WireMessage {
    let signer = world.signer("ingress");
    let wire = world.sealed(&Caller::user("acme", "u1", "editor"), "tickets.create", key, &json!({ "subject": key }));
    let opened = world.config(millrace::config::Process::Worker).publishers.keyring().open(&wire).expect("a message");
    let envelope = Envelope { schema_version, ..opened.envelope };
    signer.seal(&envelope, Lane::Main, wire.body).expect("a sealed message")
}

/// An edge of the newest release, with its URL.
async fn edge(world: &World, adopter: &Adopter) -> (Program, String) {
    let mut edge = world.start(&adopter.program("millrace-ingress"));
    let addresses: Value = serde_json::from_str(&edge.first_line().await).expect("addresses");
    let [url, admin] =
        ["listening", "admin"].map(|of| format!("http://{}", addresses[of].as_str().expect("an address")));
    eventually("the edge is ready", async || (world.readiness(&admin).await?.0 == 200).then_some(())).await;
    (edge, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_worker_does_not_know_waits_uncounted_until_a_newer_one_applies_it_once() {
    let (adopter, older, newer) = (Adopter::copied_and_built(), OLDER.worker(), NEWER.worker());
    let world = World::new().await;
    grant(&world);
    let environment = [world.environment(), vec![world.management().await]].concat();
    let link = ["tenants", "link", "acme", "--provider", "helpdesk", "--customer", "acct_1", "--live"];
    for arguments in [&["migrate"][..], &["topology"], &["tenants", "create", "acme"], &link] {
        adopter.cli(arguments, &environment).await;
    }
    let old = world.start(&older);
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let (edge, url) = edge(&world, adopter).await;

    // The older one works; a second version and a type that it has never heard of come to it all the same.
    world.enqueue("tickets", &ticket(&world, "first", 1)).await;
    world.until_lines("applied", 1).await;
    let claims = world.count("select count(*) from engine.inbox").await;
    let second = ticket(&world, "second", 2);
    world.enqueue("tickets", &second).await;
    hear(&world, &url).await;
    let waiting = "select count(*) from engine.parked where reason = 'unknown_type' and attempts = 0";
    world.until_count(waiting, 2).await;
    // For days: it sees them again and again.
    let again = "update engine.parked set first_parked_at = now() - interval '6 days', not_before = now(), waits = 0";
    world.execute(again).await;
    world.until_count(&format!("{waiting} and waits > 0"), 2).await;
    assert_eq!(world.count("select count(*) from app.tickets").await, 1);
    assert_eq!(world.count("select count(*) from engine.inbox").await, claims, "a claim was left");
    assert_eq!(old.terminate().await, 0);

    let new = world.start(&newer);
    world.execute("update engine.parked set not_before = now()").await;
    world.until_lines("applied", 3).await;
    world.until_count("select count(*) from engine.parked", 0).await;
    // What the first version sealed is still good, and copies are copies.
    world.enqueue("tickets", &second).await;
    hear(&world, &url).await;
    world.enqueue("tickets", &ticket(&world, "third", 1)).await;
    world.until_lines("applied", 4).await;
    assert_eq!(edge.terminate().await, 0);
    assert_eq!(new.terminate().await, 0);
    assert_eq!(world.depth("work.tickets.main").await, 0);
    let subjects = "select count(distinct subject) from app.tickets";
    for count in ["select count(*) from app.tickets", subjects] {
        assert_eq!(world.count(count).await, 4, "{count}");
    }
    world.finish(Left::default()).await;
    drop(others);
}
