//! Refunds that fail, and are made again.

use millrace_tests::{Left, World, reorder};
use serde_json::json;

use super::{CREATED, Event, ledger, paid, refunded, row, send};

/// A refund that failed, as one of the types that say so shows it.
fn failed(n: usize, amount: i64, kind: &'static str) -> Event {
    let object = json!({ "id": format!("re_{n}"), "object": "refund", "amount": amount, "currency": "eur",
                         "charge": format!("ch_{n}"), "payment_intent": format!("pi_{n}"), "status": "failed" });
    Event {
        id: format!("evt_{kind}_{n}"),
        kind,
        created: CREATED + 60,
        data: json!({ "object": object, "previous_attributes": { "status": "pending" } }),
    }
}

/// The same refund once more, an hour later.
fn again(n: usize, before: i64, after: i64) -> Event {
    let first = refunded(n, before, after);
    Event { id: format!("{}_again", first.id), created: CREATED + 3_600, ..first }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_and_is_made_again_gives_back_its_fee_once_in_every_order() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let mut sent = 0;
    for order in 0..24 {
        // All of it goes back, comes again, and goes back.
        let mut events = [
            paid(order, 2_900, "eur"),
            refunded(order, 0, 2_900),
            failed(order, 2_900, "refund.failed"),
            again(order, 0, 2_900),
        ];
        reorder(&mut events, order);
        for event in &events {
            // Each comes twice; a failure is told under another type as well.
            let twin = match event.kind {
                "refund.failed" => failed(order, 2_900, "charge.refund.updated"),
                _ => Event { id: format!("{}_twin", event.id), ..event.clone() },
            };
            for event in [event, &twin, event] {
                send(&world, &url, event).await;
            }
            sent += 2;
        }
    }
    world.until_lines("applied", sent).await;
    for n in 0..24 {
        let rows = ledger(&world, n).await;
        let sources: Vec<_> =
            rows.iter().map(|(kind, source, amount, _)| (kind.as_str(), source.clone(), *amount)).collect();
        let wanted = [
            ("fee", format!("in_{n}"), 2_900),
            ("refund", format!("ch_{n}:2900@1800000000"), 2_900),
            ("refund", format!("ch_{n}:2900@1800003600"), 2_900),
            ("refund_failed", format!("re_{n}"), 2_900),
        ];
        assert_eq!(sources, wanted, "order {n}");
        assert_eq!(rows.iter().map(|(.., fee)| fee).sum::<i64>(), 0, "order {n}: {rows:?}");
        assert!(rows.iter().all(|(kind, _, _, fee)| (*fee >= 0) != (kind == "refund" && *fee != 0)), "{rows:?}");
    }
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_failed_takes_the_fee_again_and_one_that_goes_on_is_ignored() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    world.tenant("globex", "cus_2").await;
    let (programs, url) = world.start_all().await;
    let mut goes_on = failed(1, 1_000, "refund.updated");
    goes_on.id = "evt_goes_on".to_owned();
    goes_on.data["object"]["status"] = json!("succeeded");
    for event in [paid(1, 2_900, "eur"), refunded(1, 0, 1_000), goes_on, failed(1, 1_000, "refund.updated")] {
        send(&world, &url, &event).await;
    }
    world.until_lines("applied", 3).await;
    world.until_lines("ignored", 1).await;
    let wanted = [
        row("fee", "in_1".to_owned(), 2_900, 39),
        row("refund", "ch_1:1000@1800000000".to_owned(), 1_000, -13),
        row("refund_failed", "re_1".to_owned(), 1_000, 13),
    ];
    assert_eq!(ledger(&world, 1).await, wanted);
    let others = "select count(*) from app.fee_ledger where org_id <> 'acme'";
    assert_eq!(world.count(others).await, 0);
    // The refund of a charge that nobody has: it waits for whoever that is.
    send(&world, &url, &failed(9, 1_000, "refund.failed")).await;
    let waits = "select count(*) from engine.parked where reason = 'tenant_unresolved' and attempts = 0";
    world.until_count(waits, 1).await;
    world.finish(Left { dead: 0, parked: 1 }).await;
    drop(programs);
}
