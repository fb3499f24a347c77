//! Mass redrives: killed and begun again, and two at once.

use std::collections::BTreeSet;
use std::process::Stdio;

use millrace_tests::{World, binary, eventually};
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{Ending, acts, bury, dead, editor, letters, make_the_tenant};

/// Two whole pages and a part.
const MANY: usize = 1_200;

/// Sealed commands of one tenant as dead letters, oldest first.
async fn bury_many(world: &World) -> Vec<Uuid> {
    make_the_tenant(world).await;
    let sealed = |number| world.sealed(&editor(), "projects.create", &format!("k{number}"), &json!({ "name": "x" }));
    bury(world, "tenant_unknown", (0..MANY).map(sealed).collect()).await
}

/// Holds one letter, as an operator does who is in the middle of its page.
async fn hold(world: &World, id: Uuid) -> Transaction<'static, Postgres> {
    let mut tx = world.superuser().begin().await.expect("a transaction");
    sqlx::query("SELECT id FROM engine.dead_letters WHERE id = $1 FOR UPDATE")
        .bind(id)
        .execute(&mut *tx)
        .await
        .expect("a lock");
    tx
}

fn redrive(world: &World, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary("millrace"));
    command.args(["dead", "redrive", "--json"]).args(arguments).envs(world.environment()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("millrace")
}

async fn waiting_for_a_lock(world: &World, wanted: i64) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    world.until_count(waiting, wanted).await;
}

/// Exit code, last JSON line and standard error.
async fn ended(child: Child) -> (i32, Value, String) {
    let output = child.wait_with_output().await.expect("millrace");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = out.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).expect("JSON"));
    (output.status.code().expect("an exit code"), last, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Every letter was sent once and is on record once, and every message had its effect once.
async fn each_once(world: World) {
    let programs = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_count("select count(*) from app.projects", MANY as i64).await;
    world.until_lines("applied", MANY).await;
    let lines = acts(&world, "dead.redrive", MANY).await;
    let targets: BTreeSet<&str> = lines.iter().filter_map(|line| line["resource_id"].as_str()).collect();
    assert_eq!(targets.len(), MANY, "one line a letter");
    assert!(lines.iter().all(|line| line["org_id"] == "acme"));
    world.finish_with_projects(MANY as i64).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_in_the_middle_goes_on_and_sends_every_letter_once() {
    let world = World::new().await;
    let ids = bury_many(&world).await;
    let held = hold(&world, ids[1_100]).await;
    let mut doomed = redrive(&world, &["--tenant", "acme"]);
    world.until_count("select count(*) from engine.dead_letters where state = 'redriven'", 1_000).await;
    waiting_for_a_lock(&world, 1).await;
    doomed.kill().await.expect("kill -9");
    held.rollback().await.expect("a release");

    let sent = "select count(*) from engine.outbox where exchange = 'millrace.work'";
    let again = dead(&world, &["redrive", "--tenant", "acme", "--json"]).await;
    assert_eq!(again.lines(0), [json!({ "redriven": 200, "refused": {}, "dry_run": false })]);
    assert_eq!(world.count(sent).await, MANY as i64);
    let overflow = format!("{sent} and routing_key = 'projects.overflow'");
    assert_eq!(world.count(&overflow).await, MANY as i64, "a mass redrive on the main lane");
    assert_eq!(dead(&world, &["redrive", "--tenant", "acme", "--json"]).await.lines(0)[0]["redriven"], 0);
    each_once(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_send_every_letter_once_and_the_loser_is_told() {
    let world = World::new().await;
    let ids = bury_many(&world).await;
    let first = ids[0].to_string();
    let held = hold(&world, ids[0]).await;
    let rivals = [redrive(&world, &[&first]), redrive(&world, &[&first])];
    waiting_for_a_lock(&world, 2).await;
    held.rollback().await.expect("a release");
    let mut codes = Vec::new();
    for rival in rivals {
        let (code, last, errors) = ended(rival).await;
        let marked = usize::from(code == 65);
        let refused = if code == 65 { json!({ "marked": marked }) } else { json!({}) };
        assert_eq!((&last["redriven"], &last["refused"]), (&json!(1 - marked), &refused), "{errors}");
        codes.push(code);
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 65], "one wins, the other is told");

    let held = hold(&world, ids[1]).await;
    let rivals = [redrive(&world, &["--all"]), redrive(&world, &["--all"])];
    waiting_for_a_lock(&world, 2).await;
    held.rollback().await.expect("a release");
    let mut redriven = 0;
    for rival in rivals {
        let (code, last, errors) = ended(rival).await;
        assert_eq!(code, 0, "{last} {errors}");
        assert!(errors.contains("of 1199 letters"), "progress of a long run: {errors}");
        redriven += last["redriven"].as_u64().expect("a count");
    }
    assert_eq!(redriven, MANY as u64 - 1);
    assert_eq!(letters(&world, "state = 'redriven'").await.len(), MANY);
    eventually("the outbox has each once", async || {
        (world.count("select count(*) from engine.outbox where exchange = 'millrace.work'").await == MANY as i64)
            .then_some(())
    })
    .await;
    each_once(world).await;
}
