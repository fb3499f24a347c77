//! (i) The audit log's writer: messages in memory to durable lines in a grown tree, beside a plain append of the same
//! lines. Both write batches of the same bytes to the same disk, each with one fdatasync, and take turns.

use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use millrace::auditlog::{Appender, AuditLog, Block, Entry, Settings, SigningKey, Stager};
use millrace::contract::{AuditEvent, Timestamp};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::options::Part;
use super::report::Figures;
use super::{Bench, progress};

/// Lines of one batch, as the audit worker takes them.
const BATCH: usize = 512;
/// Batches between two turns; what is made and thrown away between them is not timed.
const TURN: usize = 200;
const TENANTS: u64 = 100;
/// As the configuration has it by default.
const SEGMENT_BYTES: u64 = 64 << 20;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// One side's time over the lines of a turn.
#[derive(Default)]
struct Side {
    /// Seconds of each turn.
    turns: Vec<f64>,
}

impl Side {
    /// Lines a second over some of the turns.
    fn rate(&self, turns: std::ops::Range<usize>) -> f64 {
        let taken = &self.turns[turns];
        (taken.len() * TURN * BATCH) as f64 / taken.iter().sum::<f64>()
    }
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let turns = (bench.sizes.lines / (TURN * BATCH)).max(1);
    let folder = tempfile::tempdir_in(bench.servers.data()).expect("a folder");
    let measuring = tokio::task::spawn_blocking(move || {
        let log = AuditLog::open(&folder.path().join("log"), settings()).expect("a log");
        let mut plain = File::create(folder.path().join("plain")).expect("a file");
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        let (mut stager, appender) = log.split();
        let mut writer = Writing::start(appender);
        // Used again in every turn, as the writer uses its blocks again.
        let mut bytes = vec![Vec::new(); TURN];
        for turn in 0..turns {
            bytes.iter_mut().for_each(Vec::clear);
            let messages: Vec<Vec<u8>> = (0..TURN * BATCH).map(|n| message((turn * TURN * BATCH + n) as u64)).collect();
            let began = Instant::now();
            append(&mut stager, &mut writer, messages, &mut bytes);
            ours.turns.push(began.elapsed().as_secs_f64());
            let began = Instant::now();
            for batch in &bytes {
                plain.write_all(batch).and_then(|()| plain.sync_data()).expect("a plain append");
            }
            theirs.turns.push(began.elapsed().as_secs_f64());
            if turn % 10 == 9 {
                let done = (turn + 1) * TURN * BATCH;
                let (ours, theirs) = (ours.rate(turn - 9..turn + 1), theirs.rate(turn - 9..turn + 1));
                progress(format_args!("    {done} lines: {ours:.0}/s, plain {theirs:.0}/s"));
            }
        }
        let began = Instant::now();
        writer.end().close().expect("the last checkpoint");
        // The tree and its last checkpoint belong to what was asked for.
        if let Some(last) = ours.turns.last_mut() {
            *last += began.elapsed().as_secs_f64();
        }
        drop(folder);
        (ours, theirs)
    });
    let (ours, theirs) = measuring.await.expect("the measurement");
    let tenth = turns.div_ceil(10);
    figures.add("i.plain", theirs.rate(0..turns));
    figures.add("i.log", ours.rate(0..turns));
    figures.add("i.first", ours.rate(0..tenth) / theirs.rate(0..tenth));
    figures.add("i.last", ours.rate(turns - tenth..turns) / theirs.rate(turns - tenth..turns));
    figures.note(
        Part::Append,
        format!(
            "{} lines in batches of {BATCH}; ours: parsed, hashed, chained, durable, and at the end in a signed checkpoint",
            turns * TURN * BATCH
        ),
    );
}

/// Blocks that go round: one is staged, one waits, one is written.
const BLOCKS: usize = 3;

/// The writer's acting half on a thread of its own.
struct Writing {
    blocks: SyncSender<Block>,
    back: Receiver<Block>,
    empty: Vec<Block>,
    thread: std::thread::JoinHandle<Appender>,
}

impl Writing {
    fn start(mut appender: Appender) -> Self {
        let (blocks, inbox) = sync_channel::<Block>(1);
        let (give_back, back) = sync_channel(BLOCKS);
        let thread = std::thread::spawn(move || {
            for mut block in inbox {
                appender.write(&mut block).expect("an append");
                let _ = give_back.send(block);
            }
            appender
        });
        Self { blocks, back, empty: std::iter::repeat_with(Block::default).take(BLOCKS).collect(), thread }
    }

    fn end(self) -> Appender {
        drop(self.blocks);
        self.thread.join().expect("the writer")
    }
}

/// Appends all messages; returns when the last one is durable. The stored bytes are kept for the other side, in our time.
fn append(stager: &mut Stager, writing: &mut Writing, messages: Vec<Vec<u8>>, bytes: &mut [Vec<u8>]) {
    let mut messages = messages.into_iter();
    for kept in bytes {
        let entries: Vec<Entry> =
            messages.by_ref().take(BATCH).map(|line| Entry::read(line).expect("a line")).collect();
        let mut block = writing.empty.pop().unwrap_or_else(|| writing.back.recv().expect("a block"));
        stager.stage(&entries, &mut block).expect("no I/O");
        assert_eq!(block.lines(), BATCH);
        kept.extend_from_slice(block.bytes());
        writing.blocks.send(block).expect("the writer");
    }
    while writing.empty.len() < BLOCKS {
        writing.empty.push(writing.back.recv().expect("a block"));
    }
}

fn settings() -> Settings {
    let name = "bench/audit";
    Settings::new(name.to_owned(), SigningKey::generate(name).expect("a key"), SEGMENT_BYTES, YEAR)
}

/// The body of an audit event as a worker renders it.
fn message(number: u64) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let (mut id, mut cause) = ([0; 16], [0; 16]);
    id.copy_from_slice(&hash[..16]);
    cause.copy_from_slice(&hash[16..]);
    let facts = json!({
        "dedupe_key": format!("stripe:evt_{}", hex::encode(&hash[..12])),
        "message_id": Uuid::new_v8(cause),
        "publisher": "ingress",
    });
    let metadata: Map<String, serde_json::Value> = facts.as_object().cloned().unwrap_or_default();
    let event = AuditEvent {
        timestamp: Timestamp::new(OffsetDateTime::now_utc()).to_string(),
        org_id: format!("org_{}", number % TENANTS),
        actor_id: "webhook:stripe".to_owned(),
        action: "invoice.payment_succeeded".to_owned(),
        resource_type: "invoice".to_owned(),
        resource_id: format!("in_{}", hex::encode(&hash[..12])),
        metadata,
        event_id: Uuid::new_v8(id),
        outcome: "applied".to_owned(),
        policy_version: hex::encode(hash),
    };
    event.render().expect("a line")
}
