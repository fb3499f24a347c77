//! What comes of somebody after the erasure leaves nothing behind either.

use millrace::config::Process;
use millrace::contract::{Envelope, KeyId, Lane, WireMessage};
use millrace_tests::{Caller, Left, World, eventually, run_cli};
use serde_json::json;

use super::{ask, executed, settled};

const BOB: &str = "bob";

/// The same message as a newer ingress seals it.
pub(crate) fn of_a_later_version(world: &World, wire: &WireMessage) -> WireMessage {
    let keyring = world.config(Process::Worker).publishers.keyring().clone();
    let opened = keyring.open(wire).expect("a sealed message");
    let signer = keyring.signer(&KeyId::parse("ingress-1").expect("a key id")).expect("a key");
    let envelope = Envelope { schema_version: 9, ..opened.envelope };
    signer.seal(&envelope, Lane::Main, wire.body.clone()).expect("a sealed message")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_person_had_sent_before_dies_without_a_body() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    world.cli(&["tenants", "create", "acme"]).await;
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", BOB, "editor"));
    let made = world.command(&url, &bob, "projects.create", "k", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    // One of a later version waits for a newer worker.
    let waiting = of_a_later_version(&world, &world.sealed(&bob, "projects.create", "w", &json!({ "name": "marker" })));
    world.enqueue("projects", &waiting).await;
    world.until_count("select count(*) from engine.parked where reason = 'unknown_type'", 1).await;

    executed(&world, &ask(&world, &url, &ann, "e1", BOB).await, &ann).await;
    let stripped = "select count(*) from engine.dead_letters where erased_at is not null and body = ''
        and state = 'discarded' and not fields ? 'actor_id' and not fields ? 'dedupe_key'";
    world.until_count(stripped, 1).await;
    world.until_count("select count(*) from engine.parked", 0).await;
    // What the queue still had of him: malformed, and of a later version.
    for (key, body) in [("d1", json!({ "marker": BOB })), ("d2", json!({ "marker": 2 }))] {
        world.enqueue("projects", &world.sealed(&bob, "projects.create", key, &body)).await;
    }
    let late = of_a_later_version(&world, &world.sealed(&bob, "projects.create", "d3", &json!({ "name": "marker" })));
    world.enqueue("projects", &late).await;
    // Somebody else's letter is kept as ever.
    world.enqueue("projects", &world.sealed(&ann, "projects.create", "d4", &json!({ "mark": 1 }))).await;
    world.until_count("select count(*) from engine.dead_letters", 5).await;
    assert_eq!(world.count(stripped).await, 4);
    assert_eq!(world.count("select count(*) from engine.dead_letters where state = 'open' and body <> ''").await, 1);
    world.until_lines("dead", 5).await;
    let erased = |line: &serde_json::Value| line["outcome"] == "dead" && line["actor_id"] == "user:erased";
    assert_eq!(world.lines().iter().filter(|line| erased(line)).count(), 4);
    assert_eq!(world.actor("acme", BOB).await, "");
    world.finish(Left { dead: 5, parked: 0 }).await;
    drop(programs);
}

/// An adopter's rows that refer to a person's, and let nobody go.
const BADGES: &str = "
    SET ROLE millrace_owner;
    CREATE TABLE app.guests (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      guest text NOT NULL, number int NOT NULL, PRIMARY KEY (org_id, guest), UNIQUE (org_id, number));
    SELECT millrace.protect('guests');
    CREATE TABLE app.badges (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id int NOT NULL, number int NOT NULL, PRIMARY KEY (org_id, id),
      CONSTRAINT badges_of_guests FOREIGN KEY (org_id, number) REFERENCES app.guests (org_id, number));
    SELECT millrace.protect('badges');
    SELECT millrace.tag('app.guests', '{org_id,number}', 'pii: none, numbers');
    SELECT millrace.tag('app.guests', '{guest}', 'pii: person; erase: row');
    SELECT millrace.tag('app.badges', '{org_id,id,number}', 'pii: none, numbers');
    RESET ROLE;
    INSERT INTO app.guests VALUES ('acme', 'bob', 7);
    INSERT INTO app.badges VALUES ('acme', 1, 7)";

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_stops_an_erasure_is_named_and_waited_for() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    world.cli(&["tenants", "create", "acme"]).await;
    let (mut programs, url) = world.start_all().await;
    let compliance = world.start("millrace-compliance");
    world.execute(BADGES).await;
    let output = run_cli(&["coverage"], &world.environment()).await;
    assert_eq!(output.status.code(), Some(70));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("app.badges (badges_of_guests)"), "{said}");

    let ann = Caller::user("acme", "ann", "admin");
    let place = ask(&world, &url, &ann, "e1", BOB).await;
    assert_eq!(settled(&world, &place, &ann).await["status"], "applied");
    let waits = "select count(*) from engine.parked where reason = 'erasure_blocked' and attempts = 0 and waits > ";
    world.until_count(&format!("{waits} 0"), 1).await;
    assert!(compliance.log_text().contains("badges_of_guests"), "{}", compliance.log_text());
    // However often it is tried, it is not counted.
    for tried in 1..=2 {
        world.execute("UPDATE engine.parked SET not_before = now()").await;
        world.until_count(&format!("{waits} {tried}"), 1).await;
    }
    assert_eq!(world.count("select count(*) from app.guests").await, 1, "half an erasure");
    world.execute("DELETE FROM app.badges; UPDATE engine.parked SET not_before = now()").await;
    executed(&world, &place, &ann).await;
    assert_eq!(world.count("select count(*) from app.guests").await, 0);
    // Rows of a table that goes, which workers may not delete, and a table that stays and refers to one that goes.
    for (statement, place) in [
        ("REVOKE DELETE ON app.badges FROM millrace_app", "app.badges (DELETE)"),
        (
            "SELECT millrace.tag('app.badges', '{org_id}', 'pii: none, numbers; org: kept, for a reason')",
            "app.badges (badges_of_guests)",
        ),
    ] {
        world.execute(statement).await;
        let output = run_cli(&["coverage"], &world.environment()).await;
        assert!(String::from_utf8_lossy(&output.stdout).contains(place), "{place}: {output:?}");
    }
    eventually("everything is settled", async || {
        (world.count("select count(*) from engine.parked").await == 0).then_some(())
    })
    .await;
    programs.push(compliance);
    world.finish(Left::default()).await;
    drop(programs);
}
