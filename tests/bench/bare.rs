//! The bare loop beside (e): what anybody would write with lapin and sqlx, and no promise more than durability.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use millrace_tests::Servers;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::bed::{Bed, TENANTS};
use super::commits::Applied;
use super::control::start_deleting;
use super::latency::{Schedule, WARM_UP, counted, total};
use super::messages::{Messages, prepared};
use super::options::Sizes;
use super::percentiles::Sorted;
use super::publish::{Prepared, confirm_channel, publish};
use super::statements::{Kind, Message, Statements};

const QUEUE: &str = "work.projects.main";
const KEY: &str = "projects.main";
const PREFETCH: u16 = 128;
/// As many as a worker's pool has.
const CONNECTIONS: usize = 8;
const SERIES: &str = "bare";

/// Milliseconds from when each publish was due to the commit of its effect.
pub(crate) async fn measure(servers: &'static Servers, sizes: &Sizes) -> Sorted {
    let bed = Bed::new(servers, TENANTS).await;
    let url = bed.world.broker_url().await;
    let connect = || Connection::connect(&url, ConnectionProperties::default());
    let (publishing, consuming) = (connect().await.expect("a connection"), connect().await.expect("a connection"));
    let (deletions, deleting) = start_deleting(&bed.world.role_url("millrace_relay").await).await;
    let workers = Workers::start(&bed, deletions).await;
    let consumer = tokio::spawn(consume(consumer(&consuming).await, workers));

    bed.fill("projects", bed.messages.commands("warm", WARM_UP)).await;
    Applied::Projects.wait(bed.world.superuser(), WARM_UP).await;
    let messages: Vec<Prepared> = (0..total(sizes)).map(|n| prepared(bed.messages.command(SERIES, n))).collect();
    let count = messages.len();
    bed.checkpoint().await;
    let schedule = Schedule::of(sizes.steady_rate);
    send(&publishing, messages, schedule).await;
    Applied::Projects.wait(bed.world.superuser(), count + WARM_UP).await;
    publishing.close(200, "done".into()).await.expect("a closed connection");
    consuming.close(200, "done".into()).await.expect("a closed connection");
    // The consumer's stream has ended, with it the workers, and with these the deletions.
    consumer.await.expect("the consumer");
    deleting.await.expect("the deletions");

    let times = Applied::Projects.times(bed.world.superuser()).await;
    let latencies = counted(sizes, |n| schedule.millis(n, times[&Messages::name(SERIES, n)]));
    bed.end(Vec::new()).await;
    latencies
}

/// Publishes each message when it is due, whatever became of those before.
async fn send(connection: &Connection, messages: Vec<Prepared>, schedule: Schedule) {
    let channel = confirm_channel(connection).await;
    let mut pending = FuturesUnordered::new();
    for (n, message) in messages.into_iter().enumerate() {
        let due = schedule.begin + schedule.gap.mul_f64(n as f64);
        let due = tokio::time::sleep_until(due.into());
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => break,
                Some(()) = pending.next(), if !pending.is_empty() => {}
            }
        }
        pending.push(publish(&channel, KEY, message));
    }
    while pending.next().await.is_some() {}
}

async fn consumer(connection: &Connection) -> Consumer {
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("a prefetch");
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(QUEUE.into(), "bare".into(), options, table).await.expect("a consumer")
}

/// Hands each delivery to whichever worker is free.
async fn consume(mut consumer: Consumer, workers: Workers) {
    while let Some(Ok(delivery)) = consumer.next().await {
        workers.deliveries.send(delivery).await.expect("a worker");
    }
    workers.end().await;
}

/// Connections that apply deliveries, each one at a time.
struct Workers {
    deliveries: mpsc::Sender<Delivery>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    async fn start(bed: &Bed, deletions: mpsc::Sender<Vec<Uuid>>) -> Self {
        let url = bed.world.role_url("millrace_app").await;
        let statements = Arc::new(Statements::new(&bed.world));
        let (deliveries, waiting) = mpsc::channel(usize::from(PREFETCH));
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let connection = PgConnection::connect(&url).await.expect("a connection");
            let (statements, waiting) = (Arc::clone(&statements), Arc::clone(&waiting));
            tasks.push(tokio::spawn(work(connection, statements, waiting, deletions.clone())));
        }
        Self { deliveries, tasks }
    }

    async fn end(self) {
        drop(self.deliveries);
        for task in self.tasks {
            task.await.expect("a worker");
        }
    }
}

async fn work(
    mut connection: PgConnection,
    statements: Arc<Statements>,
    waiting: Arc<tokio::sync::Mutex<mpsc::Receiver<Delivery>>>,
    deletions: mpsc::Sender<Vec<Uuid>>,
) {
    loop {
        let next = waiting.lock().await.recv().await;
        let Some(delivery) = next else { return };
        let message = message(&delivery);
        let rows = statements.apply(&mut connection, Kind::Command, &message).await.expect("a transaction");
        delivery.ack(BasicAckOptions::default()).await.expect("an ack");
        deletions.send(rows).await.expect("a deletion");
    }
}

/// Tenant and project of a command, which nobody checks here.
fn message(delivery: &Delivery) -> Message {
    let body: serde_json::Value = serde_json::from_slice(&delivery.data).expect("JSON");
    let headers = delivery.properties.headers().as_ref().and_then(|headers| headers.inner().get("org_id"));
    let org = headers.and_then(|org| org.as_long_string()).expect("a tenant").to_string();
    Message::new(org, body["name"].as_str().expect("a name").to_owned())
}
