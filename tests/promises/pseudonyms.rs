//! Nobody's id with the identity provider stands in the audit log: a user has a random pseudonym there, one in each tenant.

use std::collections::BTreeSet;

use millrace::contract::Field;
use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};

fn lines_of<'l>(lines: &'l [Value], action: &str, outcome: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["action"] == action && line["outcome"] == outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_pseudonyms_in_every_line_and_programs_have_their_names() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    world.cli(&["tenants", "create", "globex"]).await;
    let (programs, url) = world.start_all_workers().await;
    let (ann, bob) = (Caller::user("acme", "ann@acme.test", "admin"), Caller::user("acme", "bob@acme.test", "editor"));
    let other = Caller::user("globex", "ann@acme.test", "admin");

    // Applied, rejected, denied by the worker, refused at the edge, dead, and about somebody.
    for (org, caller, command, key, body) in [
        ("acme", &ann, "projects.create", "k1", json!({ "name": "Apollo" })),
        ("acme", &bob, "projects.create", "k2", json!({ "name": "Gemini" })),
        ("globex", &other, "projects.create", "k1", json!({ "name": "Vostok" })),
        ("acme", &ann, "projects.archive", "k3", json!({ "id": uuid::Uuid::nil() })),
        ("acme", &ann, "members.set_role", "k4", json!({ "user_id": "cleo@acme.test", "role": "viewer" })),
        ("acme", &ann, "members.remove", "k5", json!({ "user_id": "bob@acme.test" })),
        ("acme", &Caller::service("acme", "signup", "admin"), "projects.create", "k6", json!({ "name": "Luna" })),
    ] {
        let message = world.command(&url, caller, command, key, &body).await;
        world.outcome(org, &message).await;
    }
    let denied = world.command(&url, &bob, "projects.create", "k7", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &denied).await, "denied:member_removed");
    let dan = Caller::user("acme", "dan@acme.test", "viewer");
    let refused = world.post_command(&url, &dan.token(), "projects.create", "k8", &json!({ "name": "x" })).await;
    assert_eq!(refused.expect("an answer").status, 403);
    let malformed = world.sealed(&Caller::user("acme", "eve@acme.test", "editor"), "projects.create", "k9", &json!({}));
    world.enqueue("projects", &malformed).await;
    // Outside its publisher's grant, and forged: nobody vouches for who it says it is.
    let outside = world.sealed_by(
        "crm",
        &Caller::user("acme", "fay@acme.test", "editor"),
        "projects.create",
        "k",
        &json!({ "name": "x" }),
    );
    world.enqueue("projects", &outside).await;
    let mut forged = malformed.clone();
    forged.set(Field::ActorId, "gil@acme.test").expect("a short value");
    world.enqueue("projects", &forged).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 7).await;
    world.until_lines("rejected", 1).await;
    world.until_lines("denied", 3).await;
    world.until_lines("dead", 2).await;

    names_nobody(&world).await;
    assert_eq!(world.count("select count(*) from app.subjects").await, 6, "a mapping for each person, and no more");
    world.finish(Left { dead: 2, parked: 0 }).await;
    drop(programs);
}

/// Who did what, in each line.
async fn names_nobody(world: &World) {
    let text = std::fs::read_to_string(world.audit_file()).expect("the log");
    assert!(!text.contains("acme.test"), "somebody's id stands in the log");
    let lines = world.lines();
    let actors: BTreeSet<&str> =
        lines_of(&lines, "projects.create", "applied").iter().filter_map(|line| line["actor_id"].as_str()).collect();
    assert_eq!(actors.len(), 4, "two people and a service of acme, and one of globex: {actors:?}");
    assert!(actors.contains("service:signup"));
    let (ann, bob) = (world.actor("acme", "ann@acme.test").await, world.actor("acme", "bob@acme.test").await);
    assert_ne!(ann, world.actor("globex", "ann@acme.test").await, "one person is one in two tenants");
    let set_role = lines_of(&lines, "members.set_role", "applied")[0];
    let cleo = world.actor("acme", "cleo@acme.test").await;
    assert_eq!(set_role["actor_id"], ann);
    assert_eq!(format!("user:{}", set_role["resource_id"].as_str().expect("an id")), cleo);
    let removed = lines_of(&lines, "members.remove", "applied")[0];
    assert_eq!(format!("user:{}", removed["resource_id"].as_str().expect("an id")), bob);
    let denials: BTreeSet<&str> =
        lines.iter().filter(|l| l["outcome"] == "denied").filter_map(|l| l["actor_id"].as_str()).collect();
    let dan = world.actor("acme", "dan@acme.test").await;
    assert_eq!(denials, BTreeSet::from([bob.as_str(), dan.as_str(), "user:unverified"]));
    let eve = world.actor("acme", "eve@acme.test").await;
    let dead: BTreeSet<&str> =
        lines.iter().filter(|l| l["outcome"] == "dead").filter_map(|l| l["actor_id"].as_str()).collect();
    assert_eq!(dead, BTreeSet::from([eve.as_str(), "unknown"]));
    assert!(lines.iter().any(|line| line["actor_id"] == "webhook:stripe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_one_pseudonym_however_many_batches_meet_it_first() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let ann = Caller::user("acme", "ann", "admin");
    for n in 0..40 {
        world.command(&url, &ann, "projects.create", &format!("p{n}"), &json!({ "name": "x" })).await;
        world.command(&url, &ann, "settings.update", &format!("s{n}"), &json!({ "values": { "n": n } })).await;
    }
    let workers: Vec<_> =
        ["projects", "projects", "settings", "settings"].map(|w| world.start(&format!("millrace-{w}"))).into();
    eventually("all are settled", async || (world.lines().len() > 80).then_some(())).await;
    let lines = world.lines();
    let by_ann = world.actor("acme", "ann").await;
    let people = lines.iter().filter(|line| line["actor_id"] != "operator:tester");
    assert!(people.clone().count() >= 80 && people.into_iter().all(|line| line["actor_id"] == by_ann.as_str()));
    world.finish(Left::default()).await;
    drop((programs, workers));
}
