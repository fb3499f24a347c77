//! What is refused: mistakes, letters that nothing heals or that are too old, and marks that no state admits.

use lapin::BasicProperties;
use millrace::contract::ActorKind;
use millrace_tests::{Caller, Left, World, run_cli};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::{Duration, OffsetDateTime};

use super::{Ending, acts, bury, dead, editor, letters, make_the_tenant};

const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

/// A letter that nothing heals.
async fn bury_unsealed(world: &World) {
    world
        .execute(
            "INSERT INTO engine.dead_letters (id, org_id, identity, queue, reason, attempts, fields, body)
             VALUES (gen_random_uuid(), 'millrace:operator', sha256('x'), 'work.projects.main', 'unsealed', 0, '{}', 'x')",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_and_changes_nothing() {
    let world = World::new().await;
    bury_unsealed(&world).await;
    let long = "x".repeat(501);
    for (arguments, because) in [
        (vec!["redrive"], "say which letters"),
        (vec!["discard", "--because", "x"], "--all for every open one"),
        (vec!["redrive", NOBODY, "--tenant", "acme"], "not two of them"),
        (vec!["redrive", "--all", "--tenant", "acme"], "not two of them"),
        (vec!["redrive", "--all", "--force"], "--because"),
        (vec!["discard", "--all"], "--because"),
        (vec!["discard", "--all", "--because", &long], "1 to 500 characters"),
        (vec!["discard", "--all", "--because", "  "], "1 to 500 characters"),
        (vec!["discard", "--all", "--because", "a\nb"], "in one line"),
        (vec!["redrive", "--older-than", "7"], "45s, 30m, 2h or 7d"),
        (vec!["redrive", "no-id"], "millrace dead list shows them"),
        (vec!["list", "--tenant", "a b"], "tenant id"),
        (vec!["list", "--reason", "Drop Table"], "[a-z0-9_.-]"),
        (vec!["list", "--state", "lost"], "possible values: open, redriven, discarded"),
        (vec!["list", "--limit", "0"], "--limit"),
        (vec!["show", NOBODY], "there is no dead letter"),
        (vec!["redrive", "--all", "--operator", "no body"], "is no operator name"),
    ] {
        let said = dead(&world, &arguments).await;
        assert!(said.code == 64 && said.err.contains(because), "{arguments:?}: {said:?}");
    }
    let mut nameless = world.environment();
    nameless.retain(|(name, _)| name != "MILLRACE_OPERATOR");
    nameless.extend(["MILLRACE_OPERATOR", "SUDO_USER", "USER"].map(|name| (name.to_owned(), String::new())));
    let keyless = world.config_path().with_file_name("keyless.toml");
    let text = std::fs::read_to_string(world.config_path()).expect("a configuration");
    std::fs::write(&keyless, text.replace("name = \"operator\"", "name = \"another\"")).expect("a configuration");
    let keyless = keyless.to_str().expect("a path");
    for arguments in
        [vec!["list"], vec!["redrive", "--all"], vec!["discard", "--all", "--because", "x"], vec!["show", NOBODY]]
    {
        let arguments = [&["dead"][..], &arguments].concat();
        let said = run_cli(&arguments, &nameless).await;
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(64) && errors.contains("--operator NAME"), "{arguments:?}: {errors}");
        let said = run_cli(&[&arguments[..], &["--config", keyless]].concat(), &world.environment()).await;
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(64) && errors.contains("publishers.operator: no key"), "{errors}");
    }
    let missing = dead(&world, &["redrive", NOBODY, "--json"]).await.lines(65);
    assert_eq!((&missing[0]["refused"], &missing[1]["refused"]), (&json!("not_there"), &json!({ "not_there": 1 })));
    assert_eq!(world.count("select count(*) from engine.outbox").await, 0, "something was done");
    assert_eq!(letters(&world, "state = 'open'").await.len(), 1);
    for command in ["list", "show", "redrive", "discard"] {
        let help = dead(&world, &[command, "--help"]).await;
        assert!(help.code == 0 && help.out.contains(&format!("millrace dead {command} ")), "{help:?}");
    }
    assert!(dead(&world, &["--help"]).await.out.contains("Exit codes: 0 done, 64"));
    world.finish(Left { dead: 1, parked: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_inbox_may_have_forgotten_is_redriven_by_force_and_with_a_reason() {
    let world = World::new().await;
    make_the_tenant(&world).await;
    let programs = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let sealed = |key: &str, days: i64| {
        let moment = OffsetDateTime::now_utc() - Duration::days(days);
        world.sealed_at(moment, "ingress", &editor(), "projects.create", key, &json!({ "name": key }))
    };
    let aged = bury(&world, "statement_failed", vec![sealed("k1", 40)]).await[0].to_string();
    let refused = bury(&world, "too_old_to_dedupe", vec![sealed("k2", 20)]).await[0].to_string();
    for id in [&aged, &refused] {
        let said = dead(&world, &["redrive", id]).await;
        assert!(said.code == 65 && said.out.contains("--force --because TEXT"), "{said:?}");
    }
    let all = dead(&world, &["redrive", "--all", "--json"]).await.lines(65);
    assert_eq!(all, [json!({ "redriven": 0, "refused": { "too_old": 2 }, "dry_run": false })]);
    let forced = dead(&world, &["redrive", &aged, &refused, "--force", "--because", "it never was applied"]).await;
    assert_eq!(forced.code, 0, "{forced:?}");
    let marked = letters(&world, "forced AND state = 'redriven' AND because = 'it never was applied'").await;
    assert_eq!(marked, [aged, refused]);
    world.until_lines("applied", 2).await;
    assert!(acts(&world, "dead.redrive", 2).await.iter().all(|line| line["metadata"]["forced"] == true));
    world.finish_with_projects(2).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_audit_event_goes_back_to_the_audit_queue_and_what_nobody_sealed_goes_nowhere() {
    let world = World::new().await;
    let programs = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let system = Caller { org: "acme".to_owned(), kind: ActorKind::System, id: "worker".to_owned(), role: None };
    let no_line = world.sealed_by("worker", &system, "audit.event", "k", &json!({}));
    world.enqueue_to("millrace.audit", "audit", &no_line).await;
    world.publish("millrace.audit", "audit", BasicProperties::default(), b"unsealed").await;
    world.until_lines("dead", 2).await;
    let audit = letters(&world, "reason = 'broker_gave_up' AND queue = 'dead' AND message_type = 'audit.event'").await;
    let shown = dead(&world, &["show", &audit[0], "--json"]).await.lines(0);
    assert_eq!(shown[0]["redrive"], "to millrace.audit with key audit");
    let redriven = dead(&world, &["redrive", "--all"]).await;
    assert_eq!(redriven.code, 65, "{redriven:?}");
    assert!(
        redriven.out.contains("1 letter(s) redriven, 1 left as they are\n  1 unsealed: nobody sealed it"),
        "{redriven:?}"
    );
    // It has come by the audit worker once more, which has refused it once more.
    world
        .until_count("select count(*) from engine.dead_letters where message_type = 'audit.event' and redrives = 1", 1)
        .await;
    world.until_lines("dead", 3).await;
    world.finish(Left { dead: 3, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_admits_no_mark_that_means_nothing_and_no_second_one() {
    let world = World::new().await;
    bury_unsealed(&world).await;
    let code = async |statement: &str| {
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(world.superuser()).await;
        done.map(|done| done.rows_affected()).map_err(|fault| {
            fault.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned()).unwrap_or_default()
        })
    };
    let by = "marked_at = now(), marked_by = 'ana'";
    for marks in [
        "state = 'redriven'".to_owned(),
        "state = 'redriven', marked_at = now()".to_owned(),
        "state = 'lost'".to_owned(),
        "forced = true".to_owned(),
        "because = 'x'".to_owned(),
        by.to_owned(),
        format!("state = 'redriven', forced = true, {by}"),
        format!("state = 'discarded', {by}"),
        format!("state = 'discarded', because = 'x', forced = true, {by}"),
        format!("state = 'discarded', because = '', {by}"),
        format!("state = 'discarded', because = repeat('x', 501), {by}"),
        "state = 'redriven', marked_at = now(), marked_by = 'no body'".to_owned(),
    ] {
        let refused = code(&format!("UPDATE engine.dead_letters SET {marks}")).await;
        assert_eq!(refused, Err("23514".to_owned()), "{marks}");
    }
    let redriven = format!("UPDATE engine.dead_letters SET state = 'redriven', {by}");
    assert_eq!(code(&redriven).await, Ok(1));
    assert_eq!(code(&redriven).await, Err("55000".to_owned()), "a second mark");
    let reopened = "UPDATE engine.dead_letters SET state = 'open', marked_at = NULL, marked_by = NULL";
    assert_eq!(code(reopened).await, Err("55000".to_owned()));

    let mut app = PgConnection::connect(&world.role_url("millrace_app").await).await.expect("a login");
    let forged = "INSERT INTO engine.dead_letters
           (id, org_id, identity, queue, reason, attempts, fields, body, state, marked_at, marked_by)
         VALUES (gen_random_uuid(), 'acme', sha256('y'), 'q', 'r', 0, '{}', 'x', 'redriven', now(), 'ana')";
    for statement in [forged, redriven.as_str()] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut app).await;
        let refused = refused.expect_err("a worker that marks");
        assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"), "{statement}");
    }
    world.finish(Left { dead: 1, parked: 0 }).await;
}
