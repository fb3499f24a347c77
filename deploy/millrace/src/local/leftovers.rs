use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::processes::{Found, has_environment, ourselves, postmaster, with_environment};
use super::{LocalError, MARKER, Place, SERVER};

const POLL: Duration = Duration::from_millis(50);
/// Programs may be in the middle of a drain; servers write their state down.
const PATIENCE: Duration = Duration::from_secs(20);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A process that [`stop_leftovers`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its process id.
    pub pid: u32,
    /// Its name as the kernel knows it: `postgres`, `beam.smp`, `epmd`, or that of a program of the stack.
    pub name: String,
}

/// Ends what a killed supervisor left behind: first every marked program, then the servers of the place. Each is asked
/// with SIGTERM (PostgreSQL with SIGINT, its fast shutdown) and killed when it does not follow within 20 s.
///
/// Processes are found by their environment and arguments, never by a stored process id alone. This process and its
/// ancestors are spared even if they carry the marker.
///
/// # Errors
/// [`LocalError::Survivors`] when some do not even end when killed.
pub async fn stop_leftovers(marker: &str, place: &Place) -> Result<Vec<Stopped>, LocalError> {
    let cluster = place.data.canonicalize().unwrap_or_else(|_| place.data.clone()).join("postgres");
    let spared = ourselves();
    let programs = || marked(marker, &spared).into_iter().filter(|found| !has_environment(found.pid, SERVER)).collect();
    let servers = || {
        let mut found = marked(marker, &spared);
        if let Some(postmaster) = postmaster(&cluster).filter(|root| found.iter().all(|other| other.pid != root.pid)) {
            found.push(postmaster);
        }
        found
    };
    let mut stopped = end_all(programs).await?;
    stopped.extend(end_all(servers).await?);
    Ok(stopped.into_iter().map(|found| Stopped { pid: found.pid, name: found.name }).collect())
}

fn marked(marker: &str, spared: &[u32]) -> Vec<Found> {
    with_environment(MARKER, marker).into_iter().filter(|found| !spared.contains(&found.pid)).collect()
}

/// Asks each process once, and not the helpers of another one: they end with it, and would pull it down in disorder.
async fn end_all(remaining: impl Fn() -> Vec<Found>) -> Result<Vec<Found>, LocalError> {
    let mut asked: Vec<Found> = Vec::new();
    let ask = |now: &[Found]| {
        for root in now.iter().filter(|found| now.iter().all(|other| other.pid != found.parent)) {
            if !asked.contains(root) {
                root.signal(if root.name == "postgres" { Signal::INT } else { Signal::TERM });
                asked.push(root.clone());
            }
        }
    };
    if none_left(PATIENCE, &remaining, ask).await {
        return Ok(asked);
    }
    let kill = |now: &[Found]| now.iter().for_each(|found| found.signal(Signal::KILL));
    if none_left(KILL_PATIENCE, &remaining, kill).await {
        return Ok(asked);
    }
    Err(LocalError::Survivors { pids: remaining().iter().map(|found| found.pid).collect() })
}

/// Repeats the step until nothing is left. A program that is just being started shows no environment for a moment, so
/// nothing must be found twice.
async fn none_left(limit: Duration, remaining: impl Fn() -> Vec<Found>, mut step: impl FnMut(&[Found])) -> bool {
    let begin = Instant::now();
    let mut clear = 0;
    while clear < 2 {
        if begin.elapsed() >= limit {
            return false;
        }
        let now = remaining();
        clear = if now.is_empty() { clear + 1 } else { 0 };
        step(&now);
        tokio::time::sleep(POLL).await;
    }
    true
}
