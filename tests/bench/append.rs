//! (i) The audit log's writer: messages in memory to durable lines in a grown tree, beside a plain append of as many
//! lines. Both write batches of the same size to the same disk, each with one fdatasync, and take turns; what is told is
//! the median of the turns. A turn of ours ends with a signed checkpoint of everything, so none of its tree is left over
//! for the other side's time. What the other side left to the disk is flushed before each turn.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use millrace::auditlog::{Appender, AuditLog, Block, Entry, Stager};
use tempfile::TempDir;

use super::audit_supply::{BATCH, Supply, settings};
use super::options::Part;
use super::percentiles::Sorted;
use super::report::Figures;
use super::{Bench, progress};

/// Turns of each side. A multiple of ten, so that a tenth of the lines is some of them.
const TURNS: usize = 20;
/// Turns between two words about progress.
const OFTEN: usize = 5;

/// One side's turns.
#[derive(Default)]
struct Side {
    /// Lines a second of each turn.
    rates: Vec<f64>,
    /// Milliseconds of the flushes.
    flushes: Vec<f64>,
}

impl Side {
    fn turn(&mut self, batches: usize, began: Instant) {
        self.rates.push((batches * BATCH) as f64 / began.elapsed().as_secs_f64());
    }

    fn rate(&self, turns: std::ops::Range<usize>) -> f64 {
        Sorted::new(self.rates[turns].to_vec()).median()
    }
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let batches = (bench.sizes.lines / (TURNS * BATCH)).max(1);
    let folder = tempfile::tempdir_in(bench.servers.data()).expect("a folder");
    let measuring = tokio::task::spawn_blocking(move || take_turns(folder, batches));
    let (ours, theirs, folder) = measuring.await.expect("the measurement");
    bench.audit_log = Some(folder);
    let (all, tenth) = (0..TURNS, TURNS / 10);
    figures.add("i.plain", theirs.rate(all.clone()));
    figures.add("i.fsync", Sorted::new(theirs.flushes.clone()).median());
    figures.add("i.log", ours.rate(all));
    figures.add("i.first", ours.rate(0..tenth) / theirs.rate(0..tenth));
    figures.add("i.last", ours.rate(TURNS - tenth..TURNS) / theirs.rate(TURNS - tenth..TURNS));
    figures.note(
        Part::Append,
        format!(
            "{} lines in batches of {BATCH}, {TURNS} turns; ours: parsed, hashed, chained, durable, in the tree, and at \
             the end of each turn in a signed checkpoint. Compression of closed segments goes on beside both",
            TURNS * batches * BATCH
        ),
    );
}

fn take_turns(folder: TempDir, batches: usize) -> (Side, Side, TempDir) {
    let log = AuditLog::open(&folder.path().join("log"), settings()).expect("a log");
    let (mut ours, mut theirs) = (Side::default(), Side::default());
    let (mut stager, appender) = log.split();
    let mut writer = Writing::start(appender);
    let mut supply = Supply::new();
    // Not timed: it warms everything up, and its lines are what the other side writes in all of its turns.
    let mut lines = Vec::with_capacity(batches);
    append(&mut stager, &mut writer, supply.messages(batches * BATCH), |block| lines.push(block.bytes().to_vec()));
    for turn in 0..TURNS {
        let messages = supply.messages(batches * BATCH);
        settle(folder.path());
        let began = Instant::now();
        append(&mut stager, &mut writer, messages, |_| ());
        ours.turn(batches, began);
        let path = folder.path().join("plain");
        let mut plain = File::create(&path).expect("a file");
        settle(folder.path());
        let began = Instant::now();
        for batch in &lines {
            plain.write_all(batch).expect("a plain append");
            let flush = Instant::now();
            plain.sync_data().expect("fdatasync");
            theirs.flushes.push(flush.elapsed().as_secs_f64() * 1e3);
        }
        theirs.turn(batches, began);
        std::fs::remove_file(path).expect("a removed file");
        if turn % OFTEN == OFTEN - 1 {
            let (done, last) = ((turn + 1) * batches * BATCH, turn + 1 - OFTEN..turn + 1);
            let (ours, theirs) = (ours.rate(last.clone()), theirs.rate(last));
            progress(format_args!("    {done} lines: {ours:.0}/s, plain {theirs:.0}/s, {:.2}", ours / theirs));
        }
    }
    writer.end().close().expect("the last checkpoint");
    (ours, theirs, folder)
}

/// Nobody begins with what was left to the disk before.
fn settle(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).expect("a folder")).expect("a flush");
}

/// Blocks that go round: one is staged, one waits, one is written.
const BLOCKS: usize = 3;

/// What the acting half is to do.
enum Do {
    Write(Block),
    Seal,
}

/// The writer's acting half on a thread of its own.
struct Writing {
    todo: SyncSender<Do>,
    back: Receiver<Block>,
    sealed: Receiver<u64>,
    empty: Vec<Block>,
    lines: u64,
    thread: std::thread::JoinHandle<Appender>,
}

impl Writing {
    fn start(mut appender: Appender) -> Self {
        let (todo, inbox) = sync_channel(1);
        let (give_back, back) = sync_channel(BLOCKS);
        let (seal, sealed) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            for next in inbox {
                match next {
                    Do::Write(mut block) => {
                        appender.write(&mut block).expect("an append");
                        let _ = give_back.send(block);
                    }
                    Do::Seal => drop(seal.send(appender.seal().expect("a checkpoint"))),
                }
            }
            appender
        });
        let empty = std::iter::repeat_with(Block::default).take(BLOCKS).collect();
        Self { todo, back, sealed, empty, lines: 0, thread }
    }

    fn end(self) -> Appender {
        drop(self.todo);
        self.thread.join().expect("the writer")
    }
}

/// Appends all messages; returns when every one is durable and in a signed checkpoint.
fn append(stager: &mut Stager, writing: &mut Writing, messages: Vec<Vec<u8>>, mut look: impl FnMut(&Block)) {
    let mut messages = messages.into_iter();
    while messages.len() > 0 {
        let entries: Vec<Entry> =
            messages.by_ref().take(BATCH).map(|line| Entry::read(line).expect("a line")).collect();
        let mut block = writing.empty.pop().unwrap_or_else(|| writing.back.recv().expect("a block"));
        stager.stage(&entries, &mut block).expect("no I/O");
        assert_eq!(block.lines(), BATCH);
        look(&block);
        writing.lines += block.lines() as u64;
        writing.todo.send(Do::Write(block)).expect("the writer");
    }
    writing.todo.send(Do::Seal).expect("the writer");
    assert_eq!(writing.sealed.recv().expect("a checkpoint"), writing.lines);
    while writing.empty.len() < BLOCKS {
        writing.empty.push(writing.back.recv().expect("a block"));
    }
}
