//! A broker that is down, blocks publishers or does not answer: refusals that invite a retry, acks that still flow, drains
//! that end, and recovery without a restart of ours.

use std::time::{Duration, Instant};

use millrace::config::Process;
use millrace_tests::{Left, Program, World, eventually, send_signal};
use rustix::process::Signal;

/// Five seconds of a drain, and two for a machine that is busy.
const LEAVES_WITHIN: Duration = Duration::from_secs(5 + 2);

/// Every kind of process.
struct Fleet {
    programs: Vec<Program>,
    url: String,
}

impl Fleet {
    async fn start(world: &World) -> Self {
        let (ingress, url, _) = world.start_ingress_unready().await;
        let mut programs = vec![ingress];
        for program in ["millrace-billing", "millrace-relay", "millrace-audit"] {
            let mut started = world.start(program);
            // It listens, so it has its ear on signals too.
            started.first_line().await;
            programs.push(started);
        }
        Self { programs, url }
    }

    /// SIGTERM to all of them at once.
    async fn leave(self, when: &str) {
        let began = Instant::now();
        for program in &self.programs {
            program.signal(Signal::TERM);
        }
        for mut program in self.programs {
            assert_eq!(program.wait().await, 0, "{when}");
            assert!(
                began.elapsed() < LEAVES_WITHIN,
                "{when}: left after {:?}: {}",
                began.elapsed(),
                program.log_text()
            );
        }
    }

    /// Posts until a refusal that invites a retry; what was accepted before it counts.
    async fn until_refused(&self, world: &World, accepted: &mut usize) {
        eventually("a refusal", async || {
            let answer = world.post(&self.url, world.invoice_event("cus_1").body()).await.expect("an answer");
            if answer.status == 200 {
                *accepted += 1;
                return None;
            }
            assert_eq!(answer.status, 503);
            assert!(answer.headers.contains_key("retry-after"));
            Some(())
        })
        .await;
    }

    /// Posts one event, as often as it takes.
    async fn until_accepted(&self, world: &World, accepted: &mut usize) {
        let body = world.invoice_event("cus_1").body();
        eventually("a 200", async || {
            let answer = world.post(&self.url, body.clone()).await.expect("an answer");
            (answer.status == 200).then_some(())
        })
        .await;
        *accepted += 1;
    }
}

async fn ctl(world: &World, arguments: &[&str]) {
    world.servers().rabbit.lock().await.ctl(arguments).await.expect("rabbitmqctl");
}

async fn applied(world: &World) -> usize {
    let count = world.count("select count(distinct event_id) from app.billing_history").await;
    usize::try_from(count).expect("a count")
}

/// All that was accepted is applied, with one line each. What was refused as timed out may be queued all the same.
async fn until_settled(world: &World, accepted: usize) {
    eventually("all are applied", async || (applied(world).await >= accepted).then_some(())).await;
    let each = async || (world.lines_with("applied") == applied(world).await).then_some(());
    eventually("a line each", each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_blocked_or_silent_loses_nothing_and_holds_nobody_up() {
    let mut world = World::alone().await;
    world.tenant("acme", "cus_1").await;
    let mut accepted = 0;

    // Down while everything starts.
    world.servers().rabbit.lock().await.kill().await;
    let fleet = Fleet::start(&world).await;
    fleet.until_refused(&world, &mut accepted).await;
    assert_eq!(accepted, 0);
    world.servers().rabbit.lock().await.start_again().await.expect("the broker returns");
    fleet.until_accepted(&world, &mut accepted).await;
    world.until_lines("applied", accepted).await;

    // A memory alarm, and then a disk alarm before it is over. What is queued is applied and acked all the same; its
    // audit events wait in the outbox.
    let held = world.hold("engine.inbox").await;
    for _ in 0..5 {
        fleet.until_accepted(&world, &mut accepted).await;
    }
    ctl(&world, &["set_vm_memory_high_watermark", "absolute", "1000"]).await;
    fleet.until_refused(&world, &mut accepted).await;
    drop(held);
    eventually("acks flow", async || (applied(&world).await == accepted).then_some(())).await;
    eventually("the queue is empty", async || (world.depth("work.billing.main").await == 0).then_some(())).await;
    assert!(world.count("select count(*) from engine.outbox").await > 0, "the alarm blocked nobody");
    ctl(&world, &["set_disk_free_limit", "1000000000000000"]).await;
    ctl(&world, &["set_vm_memory_high_watermark", "0.4"]).await;
    fleet.until_refused(&world, &mut accepted).await;
    fleet.leave("publishers are blocked").await;
    let fleet = Fleet::start(&world).await;
    fleet.until_refused(&world, &mut accepted).await;
    ctl(&world, &["set_disk_free_limit", "50MB"]).await;
    fleet.until_accepted(&world, &mut accepted).await;
    until_settled(&world, accepted).await;

    // It is there and says nothing. Whoever comes now waits for an answer to its first word.
    let broker = world.servers().rabbit.lock().await.pid().expect("a broker");
    send_signal(broker, Signal::STOP);
    fleet.until_refused(&world, &mut accepted).await;
    let address = world.config(Process::Ingress).amqp.addresses[0].to_string();
    // A dial of three addresses takes three times as long as one.
    world.set("MILLRACE__AMQP__ADDRESSES", [address.as_str(); 3].join(","));
    let late = Fleet::start(&world).await;
    late.until_refused(&world, &mut accepted).await;
    late.leave("a dial is not answered").await;
    fleet.leave("the broker is silent").await;
    send_signal(broker, Signal::CONT);
    let fleet = Fleet::start(&world).await;
    fleet.until_accepted(&world, &mut accepted).await;

    until_settled(&world, accepted).await;
    let doubled = "select count(*) - count(distinct event_id) from app.billing_history";
    assert_eq!(world.count(doubled).await, 0);
    world.finish(Left::default()).await;
    drop(fleet);
}
