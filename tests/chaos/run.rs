//! One seed from the empty world to the verdict.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::faults::{break_things, management};
use super::oracle::{Found, judge, on_the_way};
use super::producers::{Producers, Record, customer};
use super::report::Outcome;
use super::schedule::{FROZEN, Kind, Load, OPEN, SMALL, Schedule};
use super::stage::{Sabotage, Stage};
use crate::{World, eventually};

/// How long nothing may move before the run counts as not settled. Parked retries wait longest.
const STANDSTILL: Duration = Duration::from_secs(90);
/// The same where a guard is taken away: what is lost never moves again.
const SABOTAGED_STANDSTILL: Duration = Duration::from_secs(20);
/// How long settling may take in all.
const PATIENCE: Duration = Duration::from_secs(300);
/// Looks in a row that find nothing on its way: counters of the broker lag by some seconds.
const CALM: u32 = 4;
const LOOK: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the plan.
    pub seed: u64,
    /// How long things break, in seconds.
    pub seconds: u64,
    /// Messages a second.
    pub rate: u64,
    /// Nodes of the broker.
    pub brokers: usize,
    /// What may break.
    pub kinds: Vec<Kind>,
    /// Which guard is taken away.
    pub sabotage: Option<Sabotage>,
    /// Nothing that stands still for longer than some seconds.
    pub short: bool,
}

/// Runs one seed in a world of its own.
///
/// # Panics
/// When the world cannot be made, or a server that was broken does not come back.
pub async fn run(options: &Options, say: &(dyn Fn(String) + Sync)) -> Outcome {
    let Options { seed, seconds, .. } = *options;
    say(format!("a world with {} broker node(s)", options.brokers));
    let world = Arc::new(world(options.brokers).await);
    let count = usize::try_from(options.rate * seconds).unwrap_or(usize::MAX).max(1);
    let record = Arc::new(Record::new(Load::of(seed, count), seed, world.name()));
    let stage = Stage::start(Arc::clone(&world), options.sabotage).await;
    members(&stage, options.brokers).await;
    let supervisor = tokio::spawn(Arc::clone(&stage).supervise());
    let redelivered = Arc::new(Redelivered::default());
    let counting = tokio::spawn(count_redeliveries(Arc::clone(&stage), Arc::clone(&redelivered)));

    let length = Duration::from_secs(seconds);
    let addresses = stage.addresses(1);
    let producers = Producers::new(Arc::clone(&world), Arc::clone(&record), stage.ingress(), addresses, length).await;
    let (producers, began) = (Arc::new(producers), Instant::now());
    say(format!("{} messages, {} sends, {seconds} s of faults", record.load.messages.len(), record.load.sends.len()));
    let sending = tokio::spawn(Arc::clone(&producers).run());
    let schedule = Schedule::of(seed, &options.kinds, options.brokers, options.short);
    break_things(&stage, &schedule, began + length, say).await;
    say("no more faults; waiting until everything has come to its end".to_owned());
    let standstill = if options.sabotage.is_some() { SABOTAGED_STANDSTILL } else { STANDSTILL };
    let unsettled = settle(&stage, &record, &sending, standstill, say).await;
    let seconds = began.elapsed().as_secs_f64();
    sending.abort();
    counting.abort();
    supervisor.abort();

    let found = eventually("the effects are read", async || Found::read(&world).await.ok()).await;
    let verdict = judge(&record, &found);
    stage.end().await;
    let faults = stage.faults().into_iter().map(|(kind, count)| (kind.name(), count)).collect();
    let (deaths, repeated, redelivered) =
        (stage.deaths(), producers.refused(), redelivered.total.load(Ordering::SeqCst));
    drop((stage, producers, sending, counting, supervisor));
    eventually("the senders are gone", async || (Arc::strong_count(&world) == 1).then_some(())).await;
    Arc::into_inner(world).expect("the only owner").leave();
    Outcome { seed, verdict, unsettled, faults, deaths, repeated, redelivered, seconds, sabotage: options.sabotage }
}

async fn world(brokers: usize) -> World {
    let mut world = World::with_brokers(brokers).await;
    world.set("MILLRACE__PUBLISHERS__CRM-1__TENANTS", [OPEN.as_slice(), &[SMALL, FROZEN]].concat().join(","));
    for tenant in OPEN {
        world.cli(&["tenants", "create", tenant, "--plan", "enterprise"]).await;
        world.cli(&["tenants", "link", tenant, "--customer", &customer(tenant)]).await;
    }
    world.cli(&["tenants", "create", SMALL]).await;
    world.cli(&["tenants", "create", FROZEN]).await;
    world.cli(&["tenants", "suspend", FROZEN]).await;
    world
}

/// Waits until every work queue has a member on each node: a cluster of one would show nothing.
async fn members(stage: &Stage, brokers: usize) {
    eventually("every work queue has a member on each node", async || {
        let queues = management(stage, &format!("/api/queues/{}", stage.world.name())).await?;
        let mut work =
            queues.as_array()?.iter().filter(|queue| queue["name"].as_str().is_some_and(|n| n.starts_with("work.")));
        let on_all =
            |queue: &serde_json::Value| queue["members"].as_array().is_some_and(|nodes| nodes.len() == brokers);
        (work.clone().count() > 0 && work.all(on_all)).then_some(())
    })
    .await;
}

/// Waits until nothing is on its way, for as long as something moves; returns what is left.
async fn settle(
    stage: &Stage,
    record: &Record,
    sending: &tokio::task::JoinHandle<()>,
    standstill: Duration,
    say: &(dyn Fn(String) + Sync),
) -> BTreeMap<String, u64> {
    let (began, mut moved, mut calm, mut last) = (Instant::now(), Instant::now(), 0, BTreeMap::new());
    while began.elapsed() < PATIENCE && moved.elapsed() < standstill {
        tokio::time::sleep(LOOK).await;
        let depths = management(stage, &format!("/api/queues/{}", stage.world.name())).await;
        let Some(mut left) = on_the_way(&stage.world, depths.as_ref()).await else { continue };
        if !sending.is_finished() {
            let [_, _, _, confirmed] = record.counts();
            left.insert("unsent".to_owned(), (record.load.sends.len() as u64).saturating_sub(confirmed));
        }
        calm = if left.is_empty() { calm + 1 } else { 0 };
        if calm == CALM {
            return left;
        }
        if left != last {
            say(format!("on their way: {left:?}"));
            (moved, last) = (Instant::now(), left);
        }
    }
    last
}

/// The broker's counters start at nothing with each of its starts, so what they said before is kept.
#[derive(Default)]
struct Redelivered {
    total: AtomicU64,
    last: Mutex<HashMap<String, u64>>,
}

impl Redelivered {
    fn see(&self, queues: &serde_json::Value) {
        let mut last = self.last.lock().expect("the counts");
        for queue in queues.as_array().into_iter().flatten() {
            let (Some(name), Some(now)) = (queue["name"].as_str(), queue["message_stats"]["redeliver"].as_u64()) else {
                continue;
            };
            let before = last.insert(name.to_owned(), now).unwrap_or_default();
            self.total.fetch_add(if now >= before { now - before } else { now }, Ordering::SeqCst);
        }
    }
}

async fn count_redeliveries(stage: Arc<Stage>, redelivered: Arc<Redelivered>) {
    loop {
        let path = format!("/api/queues/{}", stage.world.name());
        if let Some(queues) = management(&stage, &path).await {
            redelivered.see(&queues);
        }
        tokio::time::sleep(LOOK).await;
    }
}
