//! (f) What a quiet tenant waits while another one floods, beside as much load from many polite tenants, and without lanes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_tests::Program;
use tokio::sync::oneshot;

use super::bed::Bed;
use super::commits::Applied;
use super::http_load::{Answers, Load, Pace, Request};
use super::latency::{Schedule, accepted};
use super::messages::Messages;
use super::options::{Part, Sizes};
use super::percentiles::Sorted;
use super::report::Figures;
use super::{Bench, progress};

const CONNECTIONS: usize = 64;
/// The quiet tenant's commands a second, and its connections.
const QUIET_RATE: f64 = 20.0;
const QUIET_CONNECTIONS: usize = 4;
/// More than it can need: it stops when everything is applied.
const QUIET_MOST: usize = 12_000;
/// A rate that nobody reaches.
const UNBOUNDED: &str = "1000000";

/// Who makes the load.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Crowd {
    /// One tenant, as fast as the ingress takes it, beyond its soft rate.
    Flood,
    /// The same, with a soft rate that nobody exceeds: the lanes are off.
    FloodWithoutLanes,
    /// Many tenants, each within its rate, together as fast as the flood was.
    Polite { per_second: f64 },
}

impl Crowd {
    fn series(self) -> &'static str {
        match self {
            Self::Flood | Self::FloodWithoutLanes => "flood",
            Self::Polite { .. } => "polite",
        }
    }
}

/// What one scenario showed.
struct Outcome {
    /// The quiet tenant's milliseconds before the load, and from then on until all of it is applied.
    alone: Sorted,
    quiet: Sorted,
    per_second: f64,
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let flood = scenario(bench, Crowd::Flood).await;
    let per_second = flood.per_second;
    figures.add("f.pace", per_second);
    let polite = scenario(bench, Crowd::Polite { per_second }).await;
    let off = scenario(bench, Crowd::FloodWithoutLanes).await;
    figures.add("f.polite.pace", polite.per_second);
    figures.add("f.alone.p50", flood.alone.percentile(50.0));
    figures.add("f.alone.p99", flood.alone.percentile(99.0));
    let samples = [&flood, &polite, &off].map(|outcome| outcome.quiet.len().to_string()).join(", ");
    for (outcome, keys) in [
        (flood, ["f.flood.p50", "f.flood.p99"]),
        (polite, ["f.polite.p50", "f.polite.p99"]),
        (off, ["f.off.p50", "f.off.p99"]),
    ] {
        figures.add(keys[0], outcome.quiet.percentile(50.0));
        figures.add(keys[1], outcome.quiet.percentile(99.0));
    }
    let Sizes { flood, polite, .. } = bench.sizes;
    figures.note(
        Part::Fairness,
        format!(
            "{flood} commands of one tenant, or of {polite} tenants at the same pace; the quiet one sends {QUIET_RATE:.0}/s \
             until all is applied ({samples} samples); one worker, relay and audit worker run"
        ),
    );
}

/// Runs one load beside the quiet tenant.
async fn scenario(bench: &Bench, crowd: Crowd) -> Outcome {
    let Sizes { flood, polite, .. } = bench.sizes;
    // The first two are the quiet one and the flooding one.
    let mut bed = Bed::new(bench.servers, polite + 2).await;
    bed.world.set("MILLRACE__LIMITS__HARD_RATE", UNBOUNDED);
    if crowd == Crowd::FloodWithoutLanes {
        bed.world.set("MILLRACE__LIMITS__SOFT_RATE", UNBOUNDED);
    }
    let (ingress, address) = bed.start_ingress().await;
    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| bed.world.start(program));
    let requests = crowd_requests(&bed, crowd, flood, polite);
    bed.checkpoint().await;

    let (quiet, schedule, stop) = start_quiet(&bed, address);
    let alone = bench.sizes.alone;
    tokio::time::sleep_until((schedule.begin + alone).into()).await;
    let pace = match crowd {
        Crowd::Polite { per_second } => Schedule::of(per_second).pace(),
        Crowd::Flood | Crowd::FloodWithoutLanes => Pace::Closed,
    };
    let answers = Load::new(address, CONNECTIONS, pace).send(requests).await;
    accepted(&answers);
    let pool = bed.world.superuser();
    Applied::Projects.wait(pool, flood).await;
    stop.store(true, Ordering::Relaxed);
    let quiet = quiet.await.expect("answers");
    accepted(&quiet);
    Applied::Projects.wait(pool, flood + quiet.list.len()).await;
    let times = Applied::Projects.times(pool).await;
    let before = (alone.as_secs_f64() * QUIET_RATE) as usize;
    let millis = |n: usize| schedule.millis(n, times[&Messages::name("quiet", n)]);
    let (alone, quiet): (Vec<usize>, Vec<usize>) = quiet.list.iter().map(|answer| answer.n).partition(|n| *n < before);
    let sorted = |numbers: Vec<usize>| Sorted::new(numbers.into_iter().map(millis).collect());
    let outcome = Outcome { alone: sorted(alone), quiet: sorted(quiet), per_second: answers.per_second() };
    let p99 = outcome.quiet.percentile(99.0);
    progress(format_args!("    {crowd:?}: {:.0}/s accepted, quiet p99 {p99:.1} ms", outcome.per_second));
    bed.end(std::iter::once(ingress).chain(others).collect::<Vec<Program>>()).await;
    outcome
}

fn start_quiet(bed: &Bed, address: SocketAddr) -> (oneshot::Receiver<Answers>, Schedule, Arc<AtomicBool>) {
    let token = Messages::caller(&bed.messages.org(0)).token();
    let requests = (0..QUIET_MOST).map(|n| Messages::command_request(&token, "quiet", n)).collect();
    let schedule = Schedule::of(QUIET_RATE);
    let load = Load::new(address, QUIET_CONNECTIONS, schedule.pace());
    let stop = Arc::clone(&load.stop);
    (load.start(requests), schedule, stop)
}

fn crowd_requests(bed: &Bed, crowd: Crowd, count: usize, polite: usize) -> Vec<Request> {
    let tenants = match crowd {
        Crowd::Polite { .. } => 2..polite + 2,
        Crowd::Flood | Crowd::FloodWithoutLanes => 1..2,
    };
    let tokens: Vec<String> = tenants.map(|n| Messages::caller(&bed.messages.org(n)).token()).collect();
    let request = |n: usize| Messages::command_request(&tokens[n % tokens.len()], crowd.series(), n);
    (0..count).map(request).collect()
}
