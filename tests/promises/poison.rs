//! Whatever bytes stand on a work queue end in an effect, a parked retry or a dead letter, and stop nobody behind them.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use millrace_tests::{Left, RawProperties, World, eventually};

fn headers(pairs: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn text(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(bytes.to_vec().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn unsealed_forged_and_unreadable_messages_are_dead_letters_and_neighbours_are_applied() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let seal = text("00".repeat(32).as_bytes());
    let hostile = [
        ("unsealed", BasicProperties::default(), b"{}".to_vec()),
        ("unsealed", headers(&[("org_id", text(b"acme"))]), vec![0, 159, 146, 150]),
        ("unknown_key", headers(&[("key_id", text(b"nobody-1")), ("seal", seal.clone())]), b"{}".to_vec()),
        ("forged", headers(&[("key_id", text(b"ingress-1")), ("seal", seal.clone())]), b"{}".to_vec()),
        ("forged", headers(&[("key_id", text(b"ingress-1")), ("seal", text(b"not hex"))]), vec![]),
        ("not_text", headers(&[("key_id", AMQPValue::LongInt(1)), ("seal", seal.clone())]), b"{}".to_vec()),
        ("not_text", headers(&[("org_id", text(b"a\0b"))]), b"nul".to_vec()),
        ("not_text", headers(&[("seal", text(&[0xff, 0xfe]))]), b"utf8".to_vec()),
        ("not_text", headers(&[("actor_id", text(&[b'x'; 300]))]), b"long".to_vec()),
    ];
    let mut neighbours = 0;
    for (_, properties, body) in &hostile {
        world.publish("millrace.work", "billing.main", properties.clone(), body).await;
        world.accept(&url, &world.invoice_event("cus_1")).await;
        neighbours += 1;
    }
    let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", neighbours).await;
    world.until_lines("dead", hostile.len()).await;
    for reason in ["unsealed", "unknown_key", "forged", "not_text"] {
        let wanted = hostile.iter().filter(|(r, ..)| *r == reason).count() as i64;
        let statement = format!("select count(*) from engine.dead_letters where reason = '{reason}'");
        assert_eq!(world.count(&statement).await, wanted, "{reason}");
    }
    let raw = "select count(*) from engine.dead_letters where body = '\\x009f9296' and org_id = 'millrace:operator'";
    assert_eq!(world.count(raw).await, 1, "the raw bytes are kept, under the operator tenant");
    let claimed = world.lines().into_iter().find(|line| !line["metadata"]["claimed_org_id"].is_null());
    assert_eq!(claimed.expect("the claimed tenant stands in the metadata")["metadata"]["claimed_org_id"], "acme");
    world.finish(Left { dead: hostile.len() as i64, parked: 0 }).await;
    drop((ingress, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handled_event_without_its_object_is_dead_at_once_and_the_next_one_is_applied() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let hollow =
        br#"{"id":"evt_hollow","type":"invoice.payment_failed","created":1,"livemode":false,"data":{"object":{}}}"#;
    assert_eq!(world.post(&url, hollow.to_vec()).await.expect("an answer").status, 200);
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    world.until_count("select count(*) from engine.dead_letters where reason = 'malformed' and attempts = 0", 1).await;
    world.until_lines("dead", 1).await;
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_later_and_dead_after_its_attempts() {
    let mut world = World::new().await;
    world.set("MILLRACE__BILLING__RETRY_POLICY__MAX_ATTEMPTS", "3");
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let mut event = world.invoice_event("cus_1");
    event.event_type = "customer.subscription.updated".to_owned();
    let text = String::from_utf8(event.body()).expect("JSON").replace("current_period_end", "another_name");
    assert_eq!(world.post(&url, text.into_bytes()).await.expect("an answer").status, 200);
    for attempt in 1..3 {
        let parked = format!(
            "select count(*) from engine.parked where reason = 'period_end_missing' and attempts = {attempt} \
             and not_before is not null"
        );
        world.until_count(&parked, 1).await;
        sqlx::query("update engine.parked set not_before = now()").execute(world.superuser()).await.expect("due now");
    }
    world
        .until_count("select count(*) from engine.dead_letters where reason = 'period_end_missing' and attempts = 3", 1)
        .await;
    world.until_lines("dead", 1).await;
    assert_eq!(world.count("select count(*) from app.subscriptions").await, 0);
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_no_client_can_parse_end_in_quarantine_and_cost_no_neighbour_its_life() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    world.publish_raw("millrace.work", "billing.main", &RawProperties::message_id(b"\xff\xfe")).await;
    world.publish_raw("millrace.audit", "audit", &RawProperties::message_id(b"\xff")).await;
    for _ in 0..20 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_lines("applied", 20).await;
    eventually("both are in quarantine", async || (world.depth("quarantine").await == 2).then_some(())).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 21).await;
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_nested_as_deep_as_a_frame_allows_are_a_dead_letter_and_no_crash() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let depth = 18_000;
    world.publish_raw("millrace.work", "billing.main", &RawProperties::nested_header(depth)).await;
    world.publish_raw("millrace.audit", "audit", &RawProperties::nested_header(depth - 1)).await;
    for _ in 0..5 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_lines("applied", 5).await;
    // Both are unsealed and carry no field that Millrace reads, so their raw bytes are one and the same.
    world.until_count("select count(*) from engine.dead_letters where reason = 'unsealed'", 1).await;
    world.until_lines("dead", 1).await;
    assert!(programs.iter().all(|program| !program.log_text().contains("overflow")));
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}
