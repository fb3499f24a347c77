//! The audit log takes sealed events only, has one writer, and one line for each event.

use std::io::Write;

use lapin::BasicProperties;
use millrace_tests::{Left, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_message_without_a_seal_becomes_a_dead_letter_and_no_line() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let forged = br#"{"timestamp":"2026-01-01T00:00:00.000000Z","org_id":"acme","actor_id":"user:eve","action":"x","resource_type":"y","resource_id":"z","metadata":{},"event_id":"00000000-0000-8000-8000-000000000001","outcome":"applied","policy_version":"0"}"#;
    world.publish("millrace.audit", "audit", BasicProperties::default(), forged).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    world.until_count("select count(*) from engine.dead_letters where reason = 'unsealed'", 1).await;
    world.until_lines("dead", 1).await;
    assert!(world.lines().iter().all(|line| line["actor_id"] != "user:eve"));
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_waits_until_the_first_is_gone_and_loses_and_doubles_no_line() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-billing", "millrace-relay"].map(|program| world.start(program));
    let (first, _) = world.start_ready("millrace-audit").await;
    let mut second = world.start("millrace-audit");
    let admin: serde_json::Value = serde_json::from_str(&second.first_line().await).expect("an address");
    let admin = format!("http://{}", admin["admin"].as_str().expect("an address"));
    eventually("the second waits", async || second.log_text().contains("another process writes").then_some(())).await;
    for number in 0..40 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
        if number == 20 {
            eventually("lines", async || (world.lines_with("applied") > 0).then_some(())).await;
            assert_eq!(world.readiness(&admin).await.map(|(status, _)| status), Some(503), "two writers write");
            first.signal("-KILL");
        }
    }
    world.until_lines("applied", 40).await;
    assert_eq!(world.readiness(&admin).await.map(|(status, _)| status), Some(200));
    let ids: std::collections::HashSet<String> =
        world.lines().iter().map(|line| line["event_id"].to_string()).collect();
    assert_eq!(ids.len(), world.lines().len(), "a line was doubled");
    world.finish(Left::default()).await;
    drop((ingress, others, first, second));
}

/// Bounds the size of every file that a process writes, as a full disk would.
fn bound_files(pid: u32, soft: &str) {
    let limit = format!("--fsize={soft}:");
    let bounded = std::process::Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(bounded.expect("prlimit").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_the_audit_log_up_and_no_line_is_torn_or_lost() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-billing", "millrace-relay"].map(|program| world.start(program));
    // Beyond its bound a process is ended, unless it ignores the signal: then its writes fail, as on a full disk.
    let (audit, _) = world.start_ready(&ignoring_file_bounds(&world)).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let written = std::fs::metadata(world.audit_file()).expect("the log").len();
    // Room for one line and a half.
    bound_files(audit.pid(), &(written + written * 3 / 4).to_string());
    for _ in 0..10 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_count("select count(*) from app.billing_history", 11).await;
    eventually("the log waits", async || audit.log_text().contains("the audit log waits").then_some(())).await;
    let torn = std::fs::read(world.audit_file()).expect("the log");
    assert!(world.lines().len() < 11);
    bound_files(audit.pid(), "unlimited");
    world.until_lines("applied", 11).await;
    let whole = std::fs::read(world.audit_file()).expect("the log");
    let kept = torn.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    assert_eq!(whole[..kept], torn[..kept], "what was written has changed");
    world.finish(Left::default()).await;
    drop((ingress, others, audit));
}

/// The audit worker behind a shell that ignores the signal of a file that grows beyond its bound.
fn ignoring_file_bounds(world: &World) -> String {
    let script = world.config_path().with_file_name("audit-in-bounds");
    let program = millrace_tests::binary("millrace-audit");
    std::fs::write(&script, format!("#!/bin/sh\ntrap '' XFSZ\nexec {}\n", program.display())).expect("a script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a program");
    script.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_in_mid_line_leaves_no_torn_and_no_double_line() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-billing", "millrace-relay"].map(|program| world.start(program));
    let mut sent = 0;
    for round in 0..4 {
        let audit = world.start("millrace-audit");
        for _ in 0..10 {
            world.accept(&url, &world.invoice_event("cus_1")).await;
            sent += 1;
        }
        // Some of this round's lines are there, others are on their way.
        eventually("lines", async || (world.lines_with("applied") > round * 10).then_some(())).await;
        audit.kill().await;
        let mut log = std::fs::OpenOptions::new().append(true).open(world.audit_file()).expect("the log");
        log.write_all(br#"{"timestamp":"2026-01-01T00:"#).expect("a torn line");
    }
    let audit = world.start("millrace-audit");
    eventually("the torn line is cut", async || {
        std::fs::read(world.audit_file()).ok().filter(|bytes| bytes.ends_with(b"\n")).map(drop)
    })
    .await;
    world.until_lines("applied", sent).await;
    world.finish(Left::default()).await;
    drop((ingress, others, audit));
}
