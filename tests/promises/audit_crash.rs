//! `kill -9` of the audit worker at any point: no line lost, none doubled, and the log is valid after the next start.

use millrace_tests::{Left, World, audit_holds, eventually};

/// Every point of the writer, in the order in which a line passes them.
const POINTS: [&str; 7] =
    ["after_write", "after_sync", "before_ack", "after_rotation", "before_checkpoint", "after_history", "after_ledger"];
/// Events of one round; some rounds close a segment of this size.
const EVENTS: usize = 12;
const SEGMENT_BYTES: &str = "4096";

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_ends_at_any_named_point_loses_and_doubles_no_line() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__AUDIT_SEGMENT_BYTES", SEGMENT_BYTES);
    for (org, customer) in [("acme", "cus_1"), ("globex", "cus_2")] {
        world.tenant(org, customer).await;
    }
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-billing", "millrace-relay"].map(|program| world.start(program));
    let mut sent = 0;
    for point in POINTS {
        for passed in [1, 2] {
            let chaos = ("MILLRACE_CHAOS".to_owned(), format!("abort@{point}:{passed}"));
            let mut audit = world.start_with("millrace-audit", &[chaos]);
            eventually(&format!("it ends at {point}"), async || {
                if !audit.is_running() {
                    return Some(());
                }
                world.accept(&url, &world.invoice_event(["cus_1", "cus_2"][sent % 2])).await;
                sent += 1;
                None
            })
            .await;
            for _ in 0..EVENTS {
                world.accept(&url, &world.invoice_event(["cus_1", "cus_2"][sent % 2])).await;
                sent += 1;
            }
        }
    }
    let audit = world.start("millrace-audit");
    world.until_lines("applied", sent).await;
    assert_eq!(audit.terminate().await, 0);
    let covered = audit_holds(&world.audit_folder());
    assert_eq!(covered, world.lines().len() as u64, "the last checkpoint covers every line");
    world.finish(Left::default()).await;
    drop((ingress, others));
}
