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
async fn a_second_writer_waits_until_the_first_is_gone() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-billing", "millrace-relay"].map(|program| world.start(program));
    let first = world.start("millrace-audit");
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let second = world.start("millrace-audit");
    eventually("the second waits", async || second.log_text().contains("another process writes").then_some(())).await;
    first.kill().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 2).await;
    world.finish(Left::default()).await;
    drop((ingress, others, second));
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
