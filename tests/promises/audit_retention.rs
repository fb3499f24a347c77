//! An operator drops what is older than the window, and nothing else; the log verifies before and after.

use std::time::Duration;

use millrace::auditlog::layout::Layout;
use millrace::auditlog::segments::segments;
use millrace::auditlog::{AuditLog, Entry, Settings};
use millrace::config::Process;
use millrace::contract::{AuditEvent, Timestamp};
use millrace_tests::{World, eventually, run_cli};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// Small segments, so that a few hundred lines are many of them.
const SEGMENT_BYTES: u64 = 4_096;
const DAY: Duration = Duration::from_secs(86_400);
/// Lines older than the window.
const OLD: u64 = 600;

fn old(number: u64) -> Entry {
    let arose = OffsetDateTime::now_utc() - 10 * DAY;
    let event = AuditEvent {
        timestamp: Timestamp::new(arose).to_string(),
        org_id: ["acme", "globex"][(number % 2) as usize].into(),
        actor_id: "webhook:stripe".into(),
        action: "invoice.payment_succeeded".into(),
        resource_type: "invoice".into(),
        resource_id: format!("in_{number}"),
        metadata: serde_json::Map::new(),
        event_id: Uuid::new_v8(
            (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
        ),
        outcome: "ignored".into(),
        policy_version: "0".into(),
    };
    Entry::read(event.render().expect("a line")).expect("a line")
}

/// A log of last week's lines, which a writer left behind.
fn write_old_lines(world: &World) {
    let compliance = world.config(Process::Audit).compliance;
    let key = compliance.audit_log_key.expect("a key");
    let settings = Settings::new(compliance.audit_log_name, key, SEGMENT_BYTES, DAY);
    let mut log = AuditLog::open(&world.audit_folder(), settings).expect("a log");
    for batch in 0..OLD / 20 {
        let lines: Vec<Entry> = (batch * 20..batch * 20 + 20).map(old).collect();
        log.append(&lines).expect("lines");
    }
    log.close().expect("a checkpoint");
}

async fn verified(world: &World) -> Value {
    let said = run_cli(&["audit", "verify", &world.audit_folder().display().to_string(), "--json"], &[]).await;
    let report: Value = serde_json::from_slice(&said.stdout).expect("a report");
    assert_eq!(said.status.code(), Some(0), "{report}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_window_goes_by_an_operators_word_and_the_log_still_verifies() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__AUDIT_SEGMENT_BYTES", SEGMENT_BYTES.to_string());
    world.set("MILLRACE__COMPLIANCE__RETENTION_DAYS", "5");
    write_old_lines(&world);
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;

    let younger = run_cli(&["audit", "prune", "--days", "4"], &world.environment()).await;
    assert_eq!(younger.status.code(), Some(64), "less than the window");
    let none = world.cli(&["audit", "prune", "--days", "30"]).await;
    assert!(none.contains("no closed segment is older than 30 days"), "{none}");
    let planned: Value =
        serde_json::from_str(&world.cli(&["audit", "prune", "--dry-run", "--json"]).await).expect("JSON");
    let (segments_going, to) =
        (planned["segments"].as_u64().expect("a number"), planned["to"].as_u64().expect("a number"));
    assert!(segments_going > 10 && (256..=OLD).contains(&to), "{planned}");
    let layout = Layout::new(world.audit_folder());
    assert_eq!(segments(&layout).expect("segments")[0].first, 0, "a dry run drops nothing");

    world.cli(&["audit", "prune", "--operator", "ada"]).await;
    eventually("the segments are gone", async || (segments(&layout).expect("segments")[0].first == to).then_some(()))
        .await;
    let said = world.lines().into_iter().find(|line| line["action"] == "retention.pruned").expect("a record");
    assert_eq!((said["actor_id"].as_str(), said["metadata"]["to"].as_u64()), (Some("operator:ada"), Some(to)));
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 2).await;
    for program in programs {
        program.terminate().await;
    }
    let report = verified(&world).await;
    assert_eq!((report["entries"]["pruned"].as_u64(), report["entries"]["missing"].as_u64()), (Some(to), Some(0)));

    // Whoever takes one more segment away has no record for it.
    let next = segments(&layout).expect("segments")[0].path.clone();
    std::fs::remove_file(next).expect("a removed segment");
    let said = run_cli(&["audit", "verify", &world.audit_folder().display().to_string(), "--json"], &[]).await;
    let report: Value = serde_json::from_slice(&said.stdout).expect("a report");
    assert_eq!((said.status.code(), report["fault"].as_str()), (Some(2), Some("segment-missing")), "{report}");
    world.discard().await;
}
