//! (e) Request to commit and to audit line at a steady rate, from the moment each request was due, beside a bare loop.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use millrace_tests::Program;

use super::bed::{Bed, TENANTS};
use super::commits::{Applied, seconds};
use super::http_load::{Answers, Load, Pace, Request};
use super::messages::Messages;
use super::options::{Part, Sizes};
use super::percentiles::Sorted;
use super::report::Figures;
use super::{Bench, audit_watch, bare};

const CONNECTIONS: usize = 64;
/// Between making a schedule and its first moment: connections are dialled meanwhile.
const LEAD: Duration = Duration::from_millis(500);

/// Moments at which messages are due, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    /// `begin` in seconds since 1970.
    wall: f64,
    pub(crate) gap: Duration,
}

impl Schedule {
    /// So many a second, from a little later than now on.
    pub(crate) fn of(rate: f64) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now());
        Self { begin: now + LEAD, wall: seconds(wall + LEAD), gap: Duration::from_secs_f64(1.0 / rate) }
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace::Every { begin: self.begin, gap: self.gap }
    }

    /// Milliseconds from when a message was due to a moment in seconds since 1970.
    pub(crate) fn millis(&self, n: usize, then: f64) -> f64 {
        (then - self.wall - self.gap.as_secs_f64() * n as f64) * 1e3
    }
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let sizes = bench.sizes;
    let bare = bare::measure(bench.servers, &sizes).await;
    figures.percentiles(["e.bare.p50", "e.bare.p99", "e.bare.p999"], &bare);

    let bed = Bed::new(bench.servers, TENANTS).await;
    let (ingress, address) = bed.start_ingress().await;
    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| bed.world.start(program));
    warm_up(&bed, address).await;
    bed.checkpoint().await;
    let watch = audit_watch::start(bed.world.audit_file());
    let requests = requests(&sizes, &bed);
    let count = requests.len();
    let schedule = Schedule::of(sizes.steady_rate);
    let answers = Load::new(address, CONNECTIONS, schedule.pace()).send(requests).await;
    accepted(&answers);
    Applied::Projects.wait(bed.world.superuser(), count + WARM_UP).await;
    bed.world.until_lines("applied", count + WARM_UP).await;
    let lines = watch.stop();

    let times = Applied::Projects.times(bed.world.superuser()).await;
    let commit = counted(&sizes, |n| schedule.millis(n, times[&Messages::name(SERIES, n)]));
    figures.percentiles(["e.commit.p50", "e.commit.p99", "e.commit.p999"], &commit);
    if let Some(flush) = figures.now("fsync.p99") {
        figures.add("e.durable.p99", commit.percentile(99.0) + flush);
    }
    let audit =
        counted(&sizes, |n| schedule.millis(n, lines[&bed.messages.command_id(&bed.messages.org(n), SERIES, n)]));
    figures.percentiles(["e.audit.p50", "e.audit.p99", "e.audit.p999"], &audit);
    note(figures, &sizes, commit.len());
    bed.end(std::iter::once(ingress).chain(others).collect::<Vec<Program>>()).await;
}

const SERIES: &str = "steady";
const WARM_SERIES: &str = "warm";
/// Commands before the clock starts, so that every connection and statement has been used once.
pub(crate) const WARM_UP: usize = 200;

fn note(figures: &mut Figures, sizes: &Sizes, samples: usize) {
    let rate = sizes.steady_rate;
    figures.note(
        Part::Latency,
        format!("projects.create with JWTs at {rate:.0}/s, open loop, from the moment each is due; {samples} samples"),
    );
    figures.note(
        Part::Latency,
        "bare loop: raw publish with confirm, raw consume with prefetch 128, (c)'s transaction over 8 connections, ack; no \
         HTTP, no tokens, no seals, no audit",
    );
    figures.note(
        Part::Latency,
        "commit: PostgreSQL's own time, taken before the flush of its record; audit line: seen in the file within 1 ms, its \
         fdatasync follows",
    );
}

/// The latencies that count: without the beginning.
pub(crate) fn counted(sizes: &Sizes, millis: impl Fn(usize) -> f64) -> Sorted {
    let all = total(sizes);
    let warm = (sizes.steady_warm.as_secs_f64() * sizes.steady_rate) as usize;
    Sorted::new((warm..all).map(millis).collect())
}

/// Messages of the whole steady load.
pub(crate) fn total(sizes: &Sizes) -> usize {
    (sizes.steady.as_secs_f64() * sizes.steady_rate) as usize
}

fn tokens(bed: &Bed) -> HashMap<String, String> {
    (0..TENANTS).map(|n| bed.messages.org(n)).map(|org| (org.clone(), Messages::caller(&org).token())).collect()
}

fn requests(sizes: &Sizes, bed: &Bed) -> Vec<Request> {
    let tokens = tokens(bed);
    let request = |n| Messages::command_request(&tokens[&bed.messages.org(n)], SERIES, n);
    (0..total(sizes)).map(request).collect()
}

async fn warm_up(bed: &Bed, address: std::net::SocketAddr) {
    let tokens = tokens(bed);
    let request = |n| Messages::command_request(&tokens[&bed.messages.org(n)], WARM_SERIES, n);
    let answers = Load::new(address, CONNECTIONS, Pace::Closed).send((0..WARM_UP).map(request).collect()).await;
    accepted(&answers);
    Applied::Projects.wait(bed.world.superuser(), WARM_UP).await;
    bed.world.until_lines("applied", WARM_UP).await;
}

/// Every command is accepted, or what follows measures something else.
///
/// # Panics
/// When one was not.
pub(crate) fn accepted(answers: &Answers) {
    assert_eq!(answers.count(|status| status == 202), answers.list.len(), "answers: {}", answers.statuses());
}
