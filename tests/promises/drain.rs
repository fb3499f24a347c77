//! SIGTERM stops consuming; what is in flight is committed or rolled back within three seconds, and the process leaves
//! within five. A second signal ends it at once. A rolling restart loses, doubles and refuses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millrace_tests::{Left, Program, World, eventually};
use rustix::process::Signal;

/// The promise: five seconds from the first signal to the end, and two for a machine that is busy.
const LEAVES_WITHIN: Duration = Duration::from_secs(5 + 2);
/// Half of what a drain gives the COMMIT in flight. A second signal does not wait for it.
const AT_ONCE: Duration = Duration::from_millis(1_500);
/// Tries of a client that retries: the first and two more.
const TRIES: usize = 3;

/// SIGTERM, and the promise; returns how long it took.
async fn leave(program: Program) -> Duration {
    let began = Instant::now();
    assert_eq!(program.terminate().await, 0);
    let took = began.elapsed();
    assert!(took < LEAVES_WITHIN, "left after {took:?}");
    took
}

async fn until_waiting(program: &Program) {
    eventually("a batch waits", async || program.log_text().contains("the batch waits").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_finishes_its_commit_or_rolls_back_and_a_second_signal_waits_for_nothing() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let applied = "select count(*) from app.billing_history";

    // A COMMIT that takes a second, and the signal in the middle of it.
    world
        .execute(
            "CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON engine.inbox_a DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION public.dawdle()",
        )
        .await;
    let (worker, _) = world.start_ready("millrace-billing").await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    let committing = "select count(*) from pg_stat_activity
        where datname = current_database() and query = 'COMMIT' and wait_event = 'PgSleep'";
    world.until_count(committing, 1).await;
    leave(worker).await;
    assert_eq!(world.count(applied).await, 1, "the commit in flight was rolled back");
    assert_eq!(world.depth("work.billing.main").await, 0, "what was committed was not acked");
    world.execute("DROP TRIGGER dawdle ON engine.inbox_a").await;

    // A batch that cannot go on: rolled back, and back on its queue.
    let held = world.hold("engine.inbox").await;
    for _ in 0..20 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    let (worker, _) = world.start_ready("millrace-billing").await;
    until_waiting(&worker).await;
    leave(worker).await;
    eventually("all are back", async || (world.depth("work.billing.main").await == 20).then_some(())).await;

    let (mut worker, admin) = world.start_ready("millrace-billing").await;
    until_waiting(&worker).await;
    worker.signal(Signal::TERM);
    eventually("it drains", async || world.readiness(&admin).await?.1.contains("draining").then_some(())).await;
    let began = Instant::now();
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().await, 0);
    let took = began.elapsed();
    assert!(took < AT_ONCE, "the second signal took {took:?}");
    drop(held);

    assert_eq!(world.count(applied).await, 1, "half a batch was committed");
    let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_count(applied, 21).await;
    world.until_lines("applied", 21).await;
    world.finish(Left::default()).await;
    drop((ingress, others));
}

/// What senders did while everything was restarted.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    sent: AtomicUsize,
    retried: AtomicUsize,
}

impl Load {
    /// Sends events one after the other, each until it is a 200, as often as a client that retries does.
    async fn send(&self, world: &World, url: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let body = world.invoice_event("cus_1").body();
            let mut tried = 0;
            loop {
                tried += 1;
                let answer = world.post(url, body.clone()).await;
                let status = answer.map(|answer| answer.status);
                if status == Some(200) {
                    break;
                }
                assert!(tried < TRIES, "refused {tried} times, the last time with {status:?}");
                self.retried.fetch_add(1, Ordering::Relaxed);
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for some more of them.
    async fn goes_on(&self) {
        let before = self.sent.load(Ordering::Relaxed);
        eventually("load", async || (self.sent.load(Ordering::Relaxed) >= before + 20).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_every_process_under_load_loses_doubles_and_refuses_nothing() {
    let mut world = World::new().await;
    world.set("MILLRACE__HTTP__SHARE_PORT", "true");
    world.tenant("acme", "cus_1").await;
    let (mut ingress, url) = world.start_ingress().await;
    // Whoever comes next listens where the first one does.
    world.set("MILLRACE__HTTP__LISTEN", url.trim_start_matches("http://"));
    let world = Arc::new(world);
    let mut others = Vec::new();
    for program in ["millrace-billing", "millrace-relay", "millrace-audit"] {
        others.push((program, world.start_ready(program).await.0));
    }
    let load = Arc::new(Load::default());
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (load, world, url) = (Arc::clone(&load), Arc::clone(&world), url.clone());
        senders.spawn(async move { load.send(&world, &url).await });
    }
    load.goes_on().await;
    for _ in 0..2 {
        let (next, same) = world.start_ingress().await;
        assert_eq!(same, url);
        leave(std::mem::replace(&mut ingress, next)).await;
        load.goes_on().await;
    }
    for (program, running) in &mut others {
        // A second audit writer waits for the first one's lock, so nobody waits for it here.
        let next = match *program {
            "millrace-audit" => world.start(program),
            _ => world.start_ready(program).await.0,
        };
        leave(std::mem::replace(running, next)).await;
        load.goes_on().await;
    }
    load.stop.store(true, Ordering::Relaxed);
    senders.join_all().await;
    let sent = load.sent.load(Ordering::Relaxed);
    world.until_lines("applied", sent).await;
    let (all, distinct) = ("select count(*)", "select count(distinct event_id)");
    for count in [all, distinct] {
        let found = world.count(&format!("{count} from app.billing_history")).await;
        assert_eq!(usize::try_from(found).expect("a count"), sent, "{count}");
    }
    Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop((ingress, others));
}
