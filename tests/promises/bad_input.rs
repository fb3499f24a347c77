//! Bad input has a defined answer (ARCHITECTURE.md, "What happens when"): a full queue, a closed channel, a full disk, a
//! message far too large, one of a later version, a revoked key, and a flood of one tenant.

mod flood;

use hyper::Method;
use lapin::BasicProperties;
use millrace::config::Process;
use millrace::contract::{Envelope, KeyId, Lane, WireMessage};
use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};

/// A message that no honest publisher sends.
const HUGE: usize = 64 << 20;
/// Most memory of a worker that has had one: the message as it came, as it is stored, and a worker.
const WORKER_BYTES: u64 = 512 << 20;

async fn post_until(world: &World, url: &str, wanted: u16) {
    let body = world.invoice_event("cus_1").body();
    eventually(&format!("a {wanted}"), async || {
        let answer = world.post(url, body.clone()).await?;
        assert!([200, 503].contains(&answer.status), "{}", answer.status);
        assert_eq!(answer.headers.contains_key("retry-after"), answer.status == 503);
        (answer.status == wanted).then_some(())
    })
    .await;
}

async fn applied(world: &World) -> usize {
    usize::try_from(world.count("select count(*) from app.billing_history").await).expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_its_own_and_a_lost_queue_or_channel_comes_back_with_the_topology() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let full = json!({
        "pattern": "^work\\.billing\\.main$", "priority": 20, "apply-to": "queues",
        "definition": {
            "max-length": 3, "overflow": "reject-publish", "delivery-limit": 200,
            "dead-letter-exchange": "millrace.dead", "dead-letter-strategy": "at-least-once",
        },
    });
    world.ask_broker(Method::PUT, "policies/{vhost}/full", &full).await;
    post_until(&world, &url, 503).await;
    let acme = Caller::user("acme", "u_1", "admin");
    world.command(&url, &acme, "projects.create", "k1", &json!({ "name": "Lighthouse" })).await;
    let workers = ["millrace-billing", "millrace-projects"].map(|program| world.start(program));
    post_until(&world, &url, 200).await;
    world.ask_broker(Method::DELETE, "policies/{vhost}/full", &Value::Null).await;
    eventually("the queue is worked off", async || (world.depth("work.billing.main").await == 0).then_some(())).await;
    world.until_count("select count(*) from app.projects", 1).await;

    // The broker closes the channel that publishes to an exchange which is not there, and cancels the consumers of a queue
    // which is not there.
    world.ask_broker(Method::DELETE, "exchanges/{vhost}/millrace.work", &Value::Null).await;
    post_until(&world, &url, 503).await;
    world.ask_broker(Method::DELETE, "queues/{vhost}/work.billing.main", &Value::Null).await;
    eventually("it is noticed", async || workers[0].log_text().contains("not consuming").then_some(())).await;
    let (variable, management) = world.management().await;
    let mut environment = world.environment();
    environment.push((variable, management));
    let topology = millrace_tests::run_cli(&["topology"], &environment).await;
    assert!(topology.status.success(), "{}", String::from_utf8_lossy(&topology.stderr));
    let before = applied(&world).await;
    post_until(&world, &url, 200).await;
    eventually("it is applied", async || (applied(&world).await > before).then_some(())).await;
    world.until_lines("applied", applied(&world).await + 1).await;
    world.finish(Left::default()).await;
    drop((ingress, others, workers));
}

/// Most memory that a process has had, in bytes.
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A trigger that answers as a server whose disk is full.
fn full_disk(table: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.full()"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgres_is_waited_for_and_a_message_of_64_mib_is_a_dead_letter_that_costs_no_neighbour_anything()
 {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let waits = || programs.iter().map(|program| program.log_text().matches("the batch waits").count()).sum::<usize>();
    let mut sent = 0;
    // Once below a handler, once below the engine.
    for table in ["app.billing_history", "engine.outbox"] {
        world.execute(&full_disk(table)).await;
        let before = waits();
        for _ in 0..5 {
            world.accept(&url, &world.invoice_event("cus_1")).await;
            sent += 1;
        }
        eventually("the batch waits", async || (waits() > before).then_some(())).await;
        assert_eq!(world.count("select count(*) from engine.parked").await, 0, "a full disk was blamed on a message");
        world.execute(&format!("DROP TRIGGER full_disk ON {table}")).await;
        world.until_lines("applied", sent).await;
    }

    let mut huge = vec![b' '; HUGE];
    huge[0] = b'{';
    world.publish("millrace.work", "billing.main", BasicProperties::default(), &huge).await;
    for _ in 0..5 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
        sent += 1;
    }
    world.until_lines("applied", sent).await;
    world.until_count(&format!("select count(*) from engine.dead_letters where length(body) = {HUGE}"), 1).await;
    world.until_lines("dead", 1).await;
    let used = high_water(programs[1].pid());
    assert!(used < WORKER_BYTES, "the worker has had {} MiB", used >> 20);
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}

/// The same message as a newer program of its publisher seals it.
fn of_a_later_version(world: &World, wire: &WireMessage) -> WireMessage {
    let keyring = world.config(Process::Worker).publishers.keyring().clone();
    let opened = keyring.open(wire).expect("a sealed message");
    let signer = keyring.signer(&KeyId::parse("crm-1").expect("a key id")).expect("a key");
    let envelope = Envelope { schema_version: 2, ..opened.envelope };
    signer.seal(&envelope, Lane::Overflow, wire.body.clone()).expect("a sealed message")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_key_has_sealed_is_dead_and_a_later_version_waits_for_a_worker_that_knows_it() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let crm = Caller::service("acme", "crm", "editor");
    // Both are sealed while both keys are good.
    for (publisher, key) in [("ledger", "k1"), ("crm", "k2")] {
        let sealed = world.sealed_by(publisher, &crm, "projects.create", key, &json!({ "name": key }));
        world.enqueue_to("millrace.direct", "projects", &sealed).await;
    }
    let later = of_a_later_version(&world, &world.sealed_by("crm", &crm, "projects.create", "k3", &json!({})));
    world.enqueue_to("millrace.direct", "projects", &later).await;

    let text = std::fs::read_to_string(world.config_path()).expect("a configuration");
    let (before, rest) = text.split_once("[publishers.ledger-1]").expect("the key");
    let (_, after) = rest.split_once("[services.crm]").expect("what follows it");
    std::fs::write(world.config_path(), format!("{before}[services.crm]{after}")).expect("a configuration");
    let (worker, admin) = world.start_ready("millrace-projects").await;
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", 1).await;
    world.until_lines("dead", 1).await;
    world.until_count("select count(*) from engine.dead_letters where reason = 'unknown_key'", 1).await;
    // What alerts ask for.
    let counted = world.http().send(Method::GET, &format!("{admin}/api/health/metrics"), &[], Vec::new()).await;
    let counted = String::from_utf8(counted.expect("metrics").body).expect("text");
    let told = "millrace_settled_code_total{worker=\"projects\",outcome=\"dead\",code=\"unknown_key\"} 1";
    assert!(counted.contains(told), "{counted}");
    assert_eq!(world.count("select count(*) from app.projects where name = 'k2'").await, 1);
    let parked = "select count(*) from engine.parked where reason = 'unknown_type' and attempts = 0";
    world.until_count(parked, 1).await;
    assert_eq!(world.count("select count(*) from engine.inbox where org_id = 'acme'").await, 1, "a claim was left");
    // Nobody who knew it came in a week.
    world
        .execute(
            "update engine.parked set first_parked_at = now() - interval '8 days', not_before = now()
             where reason = 'unknown_type'",
        )
        .await;
    world.until_lines("dead", 2).await;
    world.finish(Left { dead: 2, parked: 0 }).await;
    drop((worker, programs));
}
