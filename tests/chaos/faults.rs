//! Breaking things, and mending them again: each fault heals itself before the next one of its track begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use millrace_cli::local::Stop;
use rustix::process::{Pid, Signal, kill_process};

use super::schedule::{Fault, Kind, Schedule, Slot};
use super::stage::Stage;

/// How long a process may take to reach the point where it breaks; an idle one never does.
const REACH: Duration = Duration::from_secs(6);
const LOOK: Duration = Duration::from_millis(20);
/// Sessions are ended so often in one storm.
const STORM: u32 = 5;
/// The watermark that no broker is below.
const ALARM: &str = "0.0001";
/// The watermark of every local node.
const USUAL: &str = "0.4";
/// Tries to mend what must be whole before the next fault.
const TRIES: u32 = 5;

/// Runs all tracks until `until`, and waits until what they broke is whole again.
pub async fn break_things(stage: &Arc<Stage>, schedule: &Schedule, until: Instant, say: &(dyn Fn(String) + Sync)) {
    let run = async |faults: &[Fault]| {
        for fault in faults {
            tokio::time::sleep(fault.pause).await;
            if Instant::now() >= until {
                return;
            }
            say(format!("{} {}", fault.kind.name(), subject(fault)));
            inject(stage, fault).await;
            stage.injected(fault.kind);
        }
    };
    let [dying, standing, servers, connections] = &schedule.tracks;
    tokio::join!(run(dying), run(standing), run(servers), run(connections));
}

fn subject(fault: &Fault) -> String {
    match fault.kind {
        Kind::Kill => format!("{:?}", fault.slot),
        Kind::Abort | Kind::Stop => format!("{:?} at {} {}", fault.slot, fault.point, fault.pass),
        Kind::Freeze => format!("{:?} for {} ms", fault.slot, fault.hold.as_millis()),
        Kind::Backend | Kind::Sessions | Kind::Cut => String::new(),
        _ => format!("for {} ms", fault.hold.as_millis()),
    }
}

async fn inject(stage: &Stage, fault: &Fault) {
    match fault.kind {
        Kind::Kill => replace(stage, fault.slot, "").await,
        Kind::Abort => at_point(stage, fault, "abort").await,
        Kind::Stop => at_point(stage, fault, "stop").await,
        Kind::Freeze => freeze(stage, fault).await,
        Kind::Broker => broker(stage, fault.hold).await,
        Kind::Leader => leader(stage, fault.hold).await,
        Kind::Postgres => postgres(stage, fault.hold).await,
        Kind::Backend => backend(stage).await,
        Kind::Sessions => sessions(stage).await,
        Kind::Blocked => blocked(stage, fault.hold).await,
        Kind::Cut => stage.relays.iter().for_each(crate::TcpRelay::cut),
        Kind::HalfOpen => {
            stage.relays.iter().for_each(crate::TcpRelay::swallow_clients);
            tokio::time::sleep(fault.hold).await;
            stage.relays.iter().for_each(crate::TcpRelay::cut);
            stage.relays.iter().for_each(crate::TcpRelay::open);
        }
        Kind::Stall => {
            stage.relays.iter().for_each(crate::TcpRelay::stall);
            tokio::time::sleep(fault.hold).await;
            stage.relays.iter().for_each(crate::TcpRelay::open);
        }
    }
}

/// Kills the program and starts another one in its place.
async fn replace(stage: &Stage, slot: Slot, chaos: &str) {
    let mut place = stage.program(slot).lock().await;
    if let Some(program) = place.take() {
        program.kill().await;
    }
    *place = Some(stage.begin(slot, chaos).await);
}

/// Replaces the program by one that breaks at the point, and waits for that.
async fn at_point(stage: &Stage, fault: &Fault, act: &str) {
    replace(stage, fault.slot, &format!("{act}@{}:{}", fault.point, fault.pass)).await;
    let mut place = stage.program(fault.slot).lock().await;
    let Some(program) = place.as_mut() else { return };
    let began = Instant::now();
    while program.is_running() && !program.is_stopped() && began.elapsed() < REACH {
        tokio::time::sleep(LOOK).await;
    }
    if program.is_stopped() {
        tokio::time::sleep(fault.hold).await;
        program.signal(Signal::CONT);
        return;
    }
    drop(place);
    // It is dead, or has not got there, and would stop later, when nobody waits to wake it: a whole one takes over.
    replace(stage, fault.slot, "").await;
}

/// Whoever kills it meanwhile may: a frozen process dies like any other.
async fn freeze(stage: &Stage, fault: &Fault) {
    let frozen = async |signal, only: Option<u32>| {
        let place = stage.program(fault.slot).lock().await;
        let program = place.as_ref().filter(|program| only.is_none() || program.id() == only)?;
        program.signal(signal);
        program.id()
    };
    if let Some(pid) = frozen(Signal::STOP, None).await {
        tokio::time::sleep(fault.hold).await;
        frozen(Signal::CONT, Some(pid)).await;
    }
}

/// Kills all nodes at once. They must start together: each waits for the others' tables.
async fn broker(stage: &Stage, hold: Duration) {
    let servers = stage.world.servers();
    let (mut first, mut further) = (servers.rabbit.lock().await, servers.further.lock().await);
    first.kill().await;
    for node in further.iter_mut() {
        node.kill().await;
    }
    tokio::time::sleep(hold).await;
    for _ in 0..TRIES {
        let others = futures_util::future::join_all(further.iter_mut().map(millrace_cli::local::RabbitMq::start_again));
        let (first, others) = tokio::join!(first.start_again(), others);
        if first.is_ok() && others.iter().all(Result::is_ok) {
            return;
        }
    }
    panic!("the broker does not come back");
}

/// Kills the node that leads the first work queue, while the others go on.
async fn leader(stage: &Stage, hold: Duration) {
    let leader = leading_node(stage).await.unwrap_or_default();
    let servers = stage.world.servers();
    let (mut first, mut further) = (servers.rabbit.lock().await, servers.further.lock().await);
    let node = match further.iter_mut().find(|node| node.node_name() == leader) {
        Some(node) => node,
        None => &mut *first,
    };
    node.kill().await;
    tokio::time::sleep(hold).await;
    for _ in 0..TRIES {
        if node.start_again().await.is_ok() {
            return;
        }
    }
    panic!("a node does not come back");
}

async fn leading_node(stage: &Stage) -> Option<String> {
    let queue = management(stage, &format!("/api/queues/{}/work.billing.main", stage.world.name())).await?;
    Some(queue["leader"].as_str()?.to_owned())
}

/// Asks the first node's management API.
pub async fn management(stage: &Stage, path: &str) -> Option<serde_json::Value> {
    let (url, authorization) = {
        // A node that is being broken has nothing to say.
        let rabbit = stage.world.servers().rabbit.try_lock().ok()?;
        let (user, password) = rabbit.admin();
        let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
        (format!("{}{path}", rabbit.management_url()), format!("Basic {basic}"))
    };
    let headers = [("authorization", authorization.as_str())];
    let ask = stage.world.http().send(Method::GET, &url, &headers, Vec::new());
    let answer = tokio::time::timeout(REACH, ask).await.ok()??;
    serde_json::from_slice(&answer.body).ok()
}

async fn postgres(stage: &Stage, hold: Duration) {
    let mut postgres = stage.world.servers().postgres.lock().await;
    postgres.stop(Stop::Immediate).await;
    tokio::time::sleep(hold).await;
    for _ in 0..TRIES {
        if postgres.start_again().await.is_ok() {
            return;
        }
    }
    panic!("PostgreSQL does not come back");
}

/// A backend that is killed may have left shared memory in disorder: PostgreSQL ends all others and recovers.
async fn backend(stage: &Stage) {
    let statement =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'millrace_app' LIMIT 1";
    let found = sqlx::query_scalar::<_, i32>(statement).fetch_optional(stage.world.superuser()).await;
    if let Some(pid) = found.ok().flatten().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

async fn sessions(stage: &Stage) {
    let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..STORM {
        // It may end sessions of this very pool, whose next use takes a new one.
        let _ = sqlx::query(statement).execute(stage.world.superuser()).await;
        tokio::time::sleep(LOOK * 5).await;
    }
}

async fn blocked(stage: &Stage, hold: Duration) {
    let rabbit = stage.world.servers().rabbit.lock().await;
    let _ = rabbit.ctl(&["set_vm_memory_high_watermark", ALARM]).await;
    tokio::time::sleep(hold).await;
    for _ in 0..TRIES {
        if rabbit.ctl(&["set_vm_memory_high_watermark", USUAL]).await.is_ok() {
            return;
        }
    }
    panic!("the broker stays blocked");
}
