//! The fee ledger: one row for each paid invoice and each step of what went back or came again, whatever the order, and never
//! more back than was taken.

mod failed;

use millrace_tests::{Left, World, reorder};
use serde_json::{Value, json};

/// The second of events whose second does not matter.
const CREATED: i64 = 1_800_000_000;

/// One event as Stripe sends it.
#[derive(Debug, Clone)]
struct Event {
    id: String,
    kind: &'static str,
    created: i64,
    data: Value,
}

impl Event {
    fn body(&self) -> Vec<u8> {
        let event = json!({ "id": self.id, "object": "event", "type": self.kind, "created": self.created,
                            "livemode": false, "data": self.data });
        event.to_string().into_bytes()
    }
}

/// An invoice that one charge paid, in the shape from basil on.
fn paid(n: usize, amount: i64, currency: &str) -> Event {
    let object = json!({
        "id": format!("in_{n}"), "object": "invoice", "customer": "cus_1", "currency": currency, "status": "paid",
        "amount_due": amount, "amount_paid": amount, "parent": null,
        "payments": { "object": "list", "data": [
            { "payment": { "type": "charge", "charge": format!("ch_{n}"), "payment_intent": format!("pi_{n}") } } ] },
    });
    Event {
        id: format!("evt_paid_{n}"),
        kind: "invoice.payment_succeeded",
        created: CREATED,
        data: json!({ "object": object }),
    }
}

/// A charge whose refunds grew. From basil on it does not name its invoice.
fn refunded(n: usize, before: i64, after: i64) -> Event {
    let object = json!({ "id": format!("ch_{n}"), "object": "charge", "customer": "cus_1", "currency": "eur",
                         "payment_intent": format!("pi_{n}"), "amount_refunded": after });
    let data = json!({ "object": object, "previous_attributes": { "amount_refunded": before } });
    Event { id: format!("evt_refund_{n}_{after}"), kind: "charge.refunded", created: CREATED, data }
}

/// A credit note that was given to the customer's balance.
fn credited(n: usize, amount: i64) -> Event {
    let object = json!({ "id": format!("cn_{n}"), "object": "credit_note", "customer": "cus_1", "invoice": format!("in_{n}"),
                         "currency": "eur", "amount": amount, "type": "post_payment", "refunds": [] });
    Event {
        id: format!("evt_note_{n}"),
        kind: "credit_note.created",
        created: CREATED,
        data: json!({ "object": object }),
    }
}

async fn send(world: &World, url: &str, event: &Event) {
    let answer = world.post(url, event.body()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// Everything in the ledger of an invoice: kind, source, amount, fee.
async fn ledger(world: &World, n: usize) -> Vec<(String, String, i64, i64)> {
    let rows = "SELECT kind, source_id, amount, fee FROM app.fee_ledger WHERE invoice_id = $1 ORDER BY kind, source_id";
    sqlx::query_as(rows).bind(format!("in_{n}")).fetch_all(world.superuser()).await.expect("rows")
}

fn row(kind: &str, source: String, amount: i64, fee: i64) -> (String, String, i64, i64) {
    (kind.to_owned(), source, amount, fee)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_a_payment_and_its_refunds_ends_in_the_same_rows() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let mut sent = 0;
    for order in 0..24 {
        let mut events =
            [paid(order, 2_900, "eur"), refunded(order, 0, 1_000), refunded(order, 1_000, 2_000), credited(order, 900)];
        reorder(&mut events, order);
        for event in &events {
            // Each comes twice, and as a twin: another event for the same change.
            let twin = Event { id: format!("{}_twin", event.id), ..event.clone() };
            for event in [event, &twin, event] {
                send(&world, &url, event).await;
            }
            sent += 2;
        }
    }
    world.until_lines("applied", sent).await;
    for n in 0..24 {
        let wanted = [
            row("credit_note", format!("cn_{n}"), 900, -12),
            row("fee", format!("in_{n}"), 2_900, 39),
            row("refund", format!("ch_{n}:1000@1800000000"), 1_000, -13),
            row("refund", format!("ch_{n}:2000@1800000000"), 1_000, -13),
        ];
        assert_eq!(ledger(&world, n).await, wanted, "order {n}");
    }
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_goes_back_than_was_taken_and_nothing_is_taken_of_nothing() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    // A refund in full and a credit note on top of it: more than was paid.
    for event in
        [paid(1, 2_900, "eur"), refunded(1, 0, 2_900), credited(1, 2_900), paid(2, 0, "eur"), refunded(3, 0, 100)]
    {
        send(&world, &url, &event).await;
    }
    world.until_lines("applied", 5).await;
    let back = "select count(*) from app.fee_ledger where invoice_id = 'in_1' having sum(fee) = 0";
    assert_eq!(world.count(back).await, 3);
    assert_eq!(ledger(&world, 2).await, [], "an invoice over nothing");
    assert_eq!(
        world.count("select count(*) from app.refunds where source_id = 'ch_3:100@1800000000'").await,
        1,
        "kept for its invoice"
    );
    assert_eq!(world.count("select count(*) from app.fee_ledger").await, 3);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_that_no_table_knows_sets_the_fee_aside_and_the_payment_counts() {
    let mut world = World::new().await;
    world.set("MILLRACE__BILLING__FEE__PERCENTAGE", "0.029");
    world.set("MILLRACE__BILLING__FEE__FIXED__JPY", "30");
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    for event in [paid(1, 10_000, "jpy"), paid(2, 10_000, "eur")] {
        send(&world, &url, &event).await;
    }
    let mut owed = paid(3, 10_000, "zzz");
    (owed.id, owed.kind) = ("evt_owed".to_owned(), "invoice.payment_failed");
    owed.created = time::OffsetDateTime::now_utc().unix_timestamp() - 60;
    owed.data["object"]["status"] = json!("open");
    owed.data["object"]["amount_paid"] = json!(0);
    send(&world, &url, &owed).await;
    let level = |level: &str| format!("select count(*) from app.access where level = '{level}'");
    world.until_count(&level("grace"), 1).await;
    // Paid, told twice, and partly refunded.
    let back = Event { data: in_currency(refunded(3, 0, 5_000).data, "zzz"), ..refunded(3, 0, 5_000) };
    let twin = Event { id: "evt_twin".to_owned(), kind: "invoice.paid", ..paid(3, 10_000, "zzz") };
    for event in [paid(3, 10_000, "zzz"), twin, back] {
        send(&world, &url, &event).await;
    }
    world.until_count(&level("full"), 1).await;
    world.until_lines("applied", 6).await;
    world.until_lines("dead", 1).await;
    assert_eq!(ledger(&world, 1).await, [row("fee", "in_1".to_owned(), 10_000, 320)]);
    assert_eq!(ledger(&world, 2).await, [row("fee", "in_2".to_owned(), 10_000, 290)]);
    assert_eq!(ledger(&world, 3).await, []);
    let dead = "select count(*) from engine.dead_letters where reason = 'currency_unknown'
                and message_type = 'billing.charge_fee'";
    assert_eq!(world.count(dead).await, 1);
    let marked = "select count(*) from app.invoices where fee_set_aside = 'currency_unknown'";
    assert_eq!(world.count(marked).await, 1);
    // As if a later build knew it.
    world.execute("update app.invoices set currency = 'chf'; update app.refunds set currency = 'CHF'").await;
    world.cli(&["dead", "redrive", "--tenant", "acme"]).await;
    world.until_count(marked, 0).await;
    let wanted =
        [row("fee", "in_3".to_owned(), 10_000, 290), row("refund", "ch_3:5000@1800000000".to_owned(), 5_000, -145)];
    assert_eq!(ledger(&world, 3).await, wanted);
    world.until_lines("applied", 7).await;
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

fn in_currency(mut data: Value, currency: &str) -> Value {
    data["object"]["currency"] = json!(currency);
    data
}
