//! (c) What PostgreSQL can do one message at a time: the worker's statements in a transaction for each message, over
//! several connections, with no broker at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::bed::{Bed, TENANTS};
use super::messages::Messages;
use super::options::{Part, Sizes};
use super::report::Figures;
use super::statements::{Kind, Message, Statements, delete};
use super::{Bench, progress};

/// Numbers of connections, of which the best counts.
const CONNECTIONS: [(usize, &str); 3] = [(8, "c.8"), (16, "c.16"), (32, "c.32")];
/// For webhooks one number will do: they are for comparison with the worker alone.
const WEBHOOK_CONNECTIONS: usize = 16;
/// Rows that may wait for their deletion, in messages.
const WAITING: usize = 1_024;

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    for (connections, key) in CONNECTIONS {
        let bed = Bed::new(bench.servers, TENANTS).await;
        let rate = rate(&bed, &bench.sizes, Kind::Command, connections).await;
        progress(format_args!("    {rate:.0}/s over {connections} connections"));
        figures.add(key, rate);
        bed.end(Vec::new()).await;
    }
    let bed = Bed::new(bench.servers, TENANTS).await;
    figures.add("c.stripe", rate(&bed, &bench.sizes, Kind::Webhook, WEBHOOK_CONNECTIONS).await);
    bed.end(Vec::new()).await;
    figures.note(
        Part::Control,
        "favoured: no broker, no seals, no pool, outbox rows deleted many at once and not published",
    );
}

/// Messages committed a second, after a warm-up.
async fn rate(bed: &Bed, sizes: &Sizes, kind: Kind, connections: usize) -> f64 {
    bed.checkpoint().await;
    let url = bed.world.role_url("millrace_app").await;
    let (deletions, deleting) = start_deleting(&bed.world.role_url("millrace_relay").await).await;
    let statements = Arc::new(Statements::new(&bed.world));
    let counters = Arc::new(Counters::default());
    let mut loops = JoinSet::new();
    for number in 0..connections {
        let connection = PgConnection::connect(&url).await.expect("a connection");
        let (statements, counters, deletions) = (Arc::clone(&statements), Arc::clone(&counters), deletions.clone());
        loops.spawn(work(connection, statements, counters, deletions, (kind, number)));
    }
    drop(deletions);
    tokio::time::sleep(sizes.control_warm).await;
    let (before, began) = (counters.committed.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(sizes.control).await;
    let committed = counters.committed.load(Ordering::Relaxed) - before;
    let rate = committed as f64 / began.elapsed().as_secs_f64();
    counters.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = loops.join_next().await {
        ended.expect("a loop");
    }
    deleting.await.expect("the deletions");
    assert_eq!(bed.world.count("select count(*) from engine.outbox").await, 0, "rows were not deleted");
    rate
}

#[derive(Default)]
struct Counters {
    next: AtomicUsize,
    committed: AtomicUsize,
    stop: AtomicBool,
}

/// Messages one after the other. Tenants take turns, so loops seldom wait for one another.
async fn work(
    mut connection: PgConnection,
    statements: Arc<Statements>,
    counters: Arc<Counters>,
    deletions: mpsc::Sender<Vec<Uuid>>,
    (kind, loop_number): (Kind, usize),
) {
    while !counters.stop.load(Ordering::Relaxed) {
        let n = counters.next.fetch_add(1, Ordering::Relaxed);
        let message = Message::new(format!("org_{:04}", n % TENANTS), Messages::name("control", n));
        let rows = statements.apply(&mut connection, kind, &message).await;
        let rows = rows.unwrap_or_else(|fault| panic!("loop {loop_number}: {fault}"));
        counters.committed.fetch_add(1, Ordering::Relaxed);
        deletions.send(rows).await.expect("a deletion");
    }
}

/// Deletes outbox rows beside the loops, as the worker's outbox does: whatever waits, in one transaction.
pub(crate) async fn start_deleting(url: &str) -> (mpsc::Sender<Vec<Uuid>>, JoinHandle<()>) {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let (deletions, mut waiting) = mpsc::channel::<Vec<Uuid>>(WAITING);
    let task = tokio::spawn(async move {
        let mut rows = Vec::new();
        while let Some(first) = waiting.recv().await {
            rows.extend(first);
            while let Ok(more) = waiting.try_recv() {
                rows.extend(more);
            }
            delete(&mut connection, &rows).await.expect("a deletion");
            rows.clear();
        }
    });
    (deletions, task)
}
