//! Nothing is lost between database and log without being seen: `millrace audit reconcile` names what does not agree.

use std::process::Stdio;

use lapin::BasicProperties;
use millrace_tests::{AuditCopy, Left, Program, World, binary, run_cli};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Exit code, names of the faults, and what is counted.
async fn reconcile(world: &World, log: &AuditCopy, patience: &str) -> (i32, Vec<String>, Value) {
    let mut environment = world.environment();
    environment.push(("MILLRACE__COMPLIANCE__AUDIT_LOG_PATH".to_owned(), log.path().display().to_string()));
    let output = run_cli(&["audit", "reconcile", "--json", "--patience", patience], &environment).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = rows.pop().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let names = rows.iter().map(|row| row["fault"].as_str().unwrap_or_else(|| panic!("{row}")).to_owned());
    (output.status.code().expect("a code"), names.collect(), last)
}

/// A deployment that has settled messages in every way that these workers have, and its lines.
async fn settled(world: &World) -> ([Program; 2], Vec<Program>, Vec<Value>) {
    world.tenant("acme", "cus_1").await;
    let (mut programs, url) = world.start_all().await;
    for _ in 0..8 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.publish("millrace.work", "billing.main", BasicProperties::default(), b"unsealed").await;
    world.until_lines("applied", 8).await;
    world.until_lines("dead", 1).await;
    world.until_count("select count(*) from engine.outbox", 0).await;
    let audit = programs.pop().expect("the audit worker");
    let relay = programs.pop().expect("the relay");
    ([audit, relay], programs, world.lines())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_agrees_with_its_lines_and_each_difference_is_named() {
    let world = World::new().await;
    let (servers, others, lines) = settled(&world).await;
    let of = |outcome: &str| {
        let settled = |line: &&Value| line["outcome"] == outcome && line["metadata"]["message_id"].is_string();
        lines.iter().find(settled).cloned().expect("a line")
    };
    let without =
        |gone: &Value| AuditCopy::of(lines.iter().filter(|line| line["event_id"] != gone["event_id"]).cloned());
    let with = |more: Value| AuditCopy::of(lines.iter().cloned().chain([more]));
    let (code, faults, counts) = reconcile(&world, &AuditCopy::of(lines.clone()), "0").await;
    assert_eq!((code, faults), (0, vec![]), "{counts}");
    assert_eq!((&counts["messages"], &counts["dead_letters"]), (&json!(8), &json!(1)), "{counts}");
    assert_eq!(counts["lines"], lines.len());

    let (applied, dead) = (of("applied"), of("dead"));
    for gone in [&applied, &dead] {
        let (code, faults, counts) = reconcile(&world, &without(gone), "0").await;
        assert_eq!((code, faults), (1, vec!["line_missing".to_owned()]), "{counts}");
    }
    let (code, faults, _) = reconcile(&world, &with(applied.clone()), "0").await;
    assert_eq!((code, faults), (1, vec!["line_doubled".to_owned()]));
    let mut made_up = applied.clone();
    made_up["event_id"] = uuid::Uuid::now_v7().to_string().into();
    let mut changed = applied.clone();
    changed["outcome"] = "ignored".into();
    for foreign in [made_up, changed] {
        let (code, faults, _) = reconcile(&world, &with(foreign), "0").await;
        assert_eq!((code, faults), (1, vec!["line_foreign".to_owned()]));
    }
    let mut torn = applied.clone();
    torn["timestamp"] = "yesterday".into();
    assert_eq!(reconcile(&world, &with(torn), "0").await.1, ["line_unreadable"]);

    let whole = AuditCopy::of(lines.clone());
    let message = applied["metadata"]["message_id"].as_str().expect("an id");
    world.execute(&format!("DELETE FROM engine.inbox_a WHERE holder = '{message}'")).await;
    assert_eq!(reconcile(&world, &whole, "0").await.1, ["message_missing"]);
    world.execute("ALTER TABLE engine.dead_letters DISABLE TRIGGER ALL; DELETE FROM engine.dead_letters").await;
    assert_eq!(reconcile(&world, &whole, "0").await.1, ["message_missing"; 2]);
    world.finish(Left::default()).await;
    drop((servers, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_on_their_way_are_no_fault_and_are_waited_for() {
    let world = World::new().await;
    let (servers, others, lines) = settled(&world).await;
    let applied =
        lines.iter().position(|line| line["outcome"] == "applied" && line["metadata"]["message_id"].is_string());
    let late = lines[applied.expect("a line")].clone();
    let rest: Vec<Value> = lines.iter().filter(|line| **line != late).cloned().collect();
    let mut log = AuditCopy::of(rest);
    // In the outbox: the broker is away, and nobody has to wait for it.
    let mut body = late.clone();
    body.as_object_mut().expect("an object").retain(|name, _| name != "tenant_seq" && name != "prev_hash");
    for program in &servers {
        program.signal(rustix::process::Signal::STOP);
    }
    let insert = "INSERT INTO engine.outbox (id, exchange, routing_key, fields, body) VALUES (gen_random_uuid(), 'millrace.audit', 'audit', '{}', $1)";
    sqlx::query(insert).bind(body.to_string().into_bytes()).execute(world.superuser()).await.expect("a row");
    let (code, faults, counts) = reconcile(&world, &log, "0").await;
    assert_eq!((code, faults), (0, vec![]), "{counts}");
    // The command's own act is the other one.
    assert_eq!(counts["in_flight"], 1, "{counts}");
    world.execute("DELETE FROM engine.outbox WHERE fields = '{}'").await;
    assert_eq!(reconcile(&world, &log, "0").await.1, ["line_missing"], "the control");

    // In the audit queue: it comes while the log is watched.
    let mut command = tokio::process::Command::new(binary("millrace"));
    command.args(["audit", "reconcile", "--json", "--patience", "100"]).envs(world.environment());
    command.env("MILLRACE__COMPLIANCE__AUDIT_LOG_PATH", log.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("millrace");
    let mut errors = BufReader::new(child.stderr.take().expect("standard error")).lines();
    while let Some(line) = errors.next_line().await.expect("a line") {
        if line.contains("waiting for 1 lines") {
            log.add([late.clone()]);
            break;
        }
    }
    let output = child.wait_with_output().await.expect("an end");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    for program in &servers {
        program.signal(rustix::process::Signal::CONT);
    }
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop((servers, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_deployment_agrees_with_its_own_log_at_any_moment() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let busy = async {
        for _ in 0..120 {
            world.accept(&url, &world.invoice_event("cus_1")).await;
        }
    };
    let watching = async {
        let mut codes = Vec::new();
        for _ in 0..3 {
            let output = run_cli(&["audit", "reconcile", "--json"], &world.environment()).await;
            codes.push((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        codes
    };
    let ((), codes) = tokio::join!(busy, watching);
    for (code, said) in codes {
        assert_eq!(code, Some(0), "{said}");
    }
    world.until_lines("applied", 121).await;
    let said = world.cli(&["audit", "reconcile", "--json"]).await;
    let counts: Value =
        serde_json::from_str(said.lines().find(|line| line.starts_with('{')).expect("JSON")).expect("JSON");
    assert_eq!((&counts["messages"], &counts["agree"]), (&json!(121), &json!(true)), "{said}");
    world.finish(Left::default()).await;
    drop(programs);
}
