//! A database that is restored from before an erasure: whoever was erased is found, with a mapping or without, and holds that
//! are younger than the backup are in force again.

use millrace_tests::{Caller, Left, World, eventually, run_cli};
use serde_json::json;

use super::{ask, executed, tables_with};

const BOB: &str = "bob@acme.test";

/// As a backup has it that was made before the person's first audit line, and before the hold.
const BACKUP: &str = "
    DELETE FROM app.removed_members; DELETE FROM app.erasures; DELETE FROM engine.holds;
    DELETE FROM app.subjects WHERE subject = 'bob@acme.test';
    INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', 'bob@acme.test', 'editor');
    INSERT INTO app.usage_counters VALUES ('acme', 'members', 1) ON CONFLICT (org_id, metric) DO UPDATE SET used = 1";

/// Waits for the line of an operator's act.
async fn written(world: &World, action: &str) {
    let there = || world.lines().iter().any(|line| line["action"] == action);
    eventually(&format!("a line {action}"), async || there().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_a_mapping_in_the_backup_is_found_by_the_tombstone() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    world.cli(&["tenants", "create", "acme"]).await;
    let (mut programs, url) = world.start_all().await;
    programs.extend(["members", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let ann = Caller::user("acme", "ann", "admin");
    let role = json!({ "user_id": BOB, "role": "editor" });
    let set = world.command(&url, &ann, "members.set_role", "k1", &role).await;
    assert_eq!(world.outcome("acme", &set).await, "applied");
    executed(&world, &ask(&world, &url, &ann, "e1", BOB).await, &ann).await;
    let tombstoned = |line: &serde_json::Value| {
        line["action"] == "erasure.executed"
            && line["metadata"]["tombstone"].as_str().is_some_and(|tag| tag.len() == 64)
    };
    world.until_lines("applied", 3).await;
    assert_eq!(world.lines().iter().filter(|line| tombstoned(line)).count(), 1);

    world.execute(BACKUP).await;
    assert_eq!(tables_with(&world, BOB).await, ["app.members"]);
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("1 erasures in the log, 1 of them applied again"), "{said}");
    assert_eq!(tables_with(&world, BOB).await, Vec::<String>::new());
    assert_eq!(world.count("select used from app.usage_counters where metric = 'members'").await, 0);
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("0 of them applied again"), "{said}");

    // A hold that the log knows and the backup does not is in force again: the person is denied, and kept.
    world.cli(&["hold", "place", "acme", "--matter", "m"]).await;
    written(&world, "hold.place").await;
    world.execute(BACKUP).await;
    let output = run_cli(&["erasures", "apply"], &world.environment()).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(65), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("acme: held again for m") && said.contains("0 of them applied again, 1 held"), "{said}");
    assert_eq!(tables_with(&world, BOB).await, ["app.members"]);
    let bob = Caller::user("acme", BOB, "admin");
    let denied = world.command(&url, &bob, "members.remove", "k2", &json!({ "user_id": "x" })).await;
    assert_eq!(world.outcome("acme", &denied).await, "denied:member_removed");
    world.cli(&["hold", "release", "acme", "--matter", "m"]).await;
    written(&world, "hold.release").await;
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("1 of them applied again"), "{said}");
    assert_eq!(tables_with(&world, BOB).await, Vec::<String>::new());
    world.finish(Left::default()).await;
    drop(programs);
}
