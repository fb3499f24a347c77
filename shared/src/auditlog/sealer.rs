//! The sealer: a thread beside the writer that grows the tree, signs checkpoints and closes segments, so that neither
//! signatures nor compression hold a line up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::watch;

use super::closer::{Closer, Word};
use super::durable::{self, Journal, whole_notes};
use super::fault::LogFault;
use super::growing::Growing;
use super::layout::Layout;
use super::note::{Checkpoint, SigningKey};
use super::tree::Hash;
use crate::chaos::{Point, pass};
use crate::contract::Timestamp;
use crate::telemetry::{chain, fields};

/// Full tiles that get their files together, between two checkpoints.
const SPILL: usize = 64;
/// Lines without a checkpoint beyond which the writer waits when the disk refuses tiles or checkpoints.
pub(super) const MOST_UNCOVERED: u64 = 65_536;
/// A clock that is behind the newest checkpoint by less than this is waited for.
const STEP_BACK: Duration = Duration::from_secs(60);

/// How a log is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the log: origin of its checkpoints and name of its key.
    pub name: String,
    /// Signs checkpoints.
    pub key: SigningKey,
    /// A segment that has reached so many bytes is closed.
    pub segment_bytes: u64,
    /// How often a log that grows gets a checkpoint.
    pub checkpoint_every: Duration,
    /// How often one that does not.
    pub heartbeat_every: Duration,
    /// Lines younger than this are not dropped, whatever an operator says.
    pub retention: Duration,
}

impl Settings {
    /// A checkpoint a second for a log that grows, one an hour for one that does not.
    pub fn new(name: String, key: SigningKey, segment_bytes: u64, retention: Duration) -> Self {
        Self {
            name,
            key,
            segment_bytes,
            checkpoint_every: Duration::from_secs(1),
            heartbeat_every: Duration::from_secs(3_600),
            retention,
        }
    }
}

/// A signed checkpoint that is durable.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Lines that it covers.
    pub size: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// The signed note.
    pub note: Arc<str>,
}

/// What the writer tells the sealer.
pub(super) enum Told {
    /// Lines are durable.
    Grown(Vec<Hash>),
    /// An operator's act is among them, at this index.
    Act(u64, Vec<u8>),
    /// A segment gets no more lines: its first index, and how many it has.
    Closed(u64, u64),
    /// A checkpoint is wanted now; the answer is how many lines the newest one covers.
    Seal(Sender<u64>),
    /// The writer ends.
    Stop,
}

/// The writer's end of the thread.
#[derive(Debug)]
pub(super) struct Handle {
    told: Sender<Told>,
    fault: Arc<Mutex<Option<LogFault>>>,
    sealed: watch::Receiver<Option<Sealed>>,
    refused: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Tells the thread; it has died when it does not listen.
    pub(super) fn tell(&self, told: Told) -> Result<(), LogFault> {
        self.told.send(told).map_err(|_| self.fault().unwrap_or(LogFault::Died))
    }

    /// While the disk refuses tiles or checkpoints, only so many lines may be appended that neither covers: what is acked
    /// has to come under a signature soon.
    pub(super) fn admits(&self, lines: u64) -> Result<(), LogFault> {
        if !self.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        let uncovered = lines - self.sealed.borrow().as_ref().map_or(0, |sealed| sealed.size);
        if uncovered > MOST_UNCOVERED { Err(LogFault::Uncovered { lines: uncovered }) } else { Ok(()) }
    }

    /// Why the thread ended, once.
    fn fault(&self) -> Option<LogFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The newest checkpoint, now and later.
    pub(super) fn sealed(&self) -> watch::Receiver<Option<Sealed>> {
        self.sealed.clone()
    }

    /// Waits for a checkpoint of everything that was told so far, and says how many lines the newest one covers.
    pub(super) fn seal(&self) -> Result<u64, LogFault> {
        let (answer, answered) = channel();
        self.tell(Told::Seal(answer))?;
        answered.recv().map_err(|_| self.fault().unwrap_or(LogFault::Died))
    }

    /// Waits for the last checkpoint.
    pub(super) fn stop(&mut self) -> Result<(), LogFault> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let _ = self.told.send(Told::Stop);
        thread.join().map_err(|_| LogFault::Died)?;
        self.fault().map_or(Ok(()), Err)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever did not ask how it ended does not want to know.
        let _ = self.stop();
    }
}

/// The thread's own state.
pub(super) struct Sealer {
    settings: Settings,
    layout: Layout,
    tree: Growing,
    history: Journal,
    /// Hash of the table of keys.
    keys: Hash,
    /// The last of the history.
    newest: Option<Checkpoint>,
    /// The same, while it is not in its place yet.
    unplaced: Option<Sealed>,
    closer: Closer,
    sealed: watch::Sender<Option<Sealed>>,
    refused: Arc<AtomicBool>,
}

impl Sealer {
    /// Takes over a log whose newest checkpoint, tree and segments are known.
    pub(super) fn new(
        settings: Settings,
        layout: Layout,
        (tree, keys): (Growing, Hash),
        newest: Option<(Checkpoint, String)>,
        closer: Closer,
    ) -> Result<Self, LogFault> {
        let history = Journal::open(&layout.history(), whole_notes)?;
        let sealed = newest.as_ref().map(|(checkpoint, note)| Sealed {
            size: checkpoint.size,
            time: checkpoint.time,
            note: note.as_str().into(),
        });
        let newest = newest.map(|(checkpoint, _)| checkpoint);
        let (sealed, refused) = (watch::Sender::new(sealed), Arc::default());
        Ok(Self { settings, layout, tree, history, keys, newest, unplaced: None, closer, sealed, refused })
    }

    /// Starts the thread.
    pub(super) fn start(mut self) -> Result<Handle, LogFault> {
        let (told, inbox) = channel();
        let fault = Arc::new(Mutex::new(None));
        let (sealed, left, refused) = (self.sealed.subscribe(), Arc::clone(&fault), Arc::clone(&self.refused));
        // A log has a checkpoint from its first moment on.
        self.work(false)?;
        let thread = std::thread::Builder::new().name("audit sealer".to_owned()).spawn(move || {
            if let Err(fault) = self.run(&inbox) {
                *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            }
        });
        let thread = thread.map_err(super::fault::io("start a thread for", std::path::Path::new("checkpoints")))?;
        Ok(Handle { told, fault, sealed, refused, thread: Some(thread) })
    }

    fn run(mut self, inbox: &Receiver<Told>) -> Result<(), LogFault> {
        let mut next = Instant::now() + self.settings.checkpoint_every;
        loop {
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Told::Grown(leaves)) => {
                    leaves.into_iter().for_each(|leaf| self.tree.push(leaf));
                    if self.tree.unspilled() >= SPILL {
                        // What fails here is tried again for the next checkpoint, which tells of it.
                        let _ = self.tree.spill();
                    }
                }
                Ok(Told::Act(index, line)) => self.closer.tell(Word::Act(index, line))?,
                Ok(Told::Closed(first, lines)) => self.closer.tell(Word::Closed(first, lines))?,
                Ok(Told::Seal(answer)) => {
                    self.attempt(false)?;
                    // Whoever asked may be gone.
                    let _ = answer.send(self.newest.as_ref().map_or(0, |newest| newest.size));
                }
                Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    let sealed = self.attempt(true);
                    return sealed.and(self.closer.stop());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                next = Instant::now() + self.settings.checkpoint_every;
                self.attempt(false)?;
            }
        }
    }

    /// Does what is due. A disk that refuses is asked again in a moment, unless this is the last time; anything else
    /// ends the writer.
    fn attempt(&mut self, last: bool) -> Result<(), LogFault> {
        match self.work(last) {
            Err(fault @ LogFault::Io { .. }) if !last => {
                self.refused.store(true, Ordering::Relaxed);
                tracing::error!(error = chain(&fault), "no checkpoint could be written; it is tried again");
            }
            ended => {
                ended?;
                self.refused.store(false, Ordering::Relaxed);
            }
        }
        let behind = self.tree.size() - self.newest.as_ref().map_or(0, |newest| newest.size);
        metrics::gauge!(fields::AUDIT_UNSEALED).set(behind as f64);
        Ok(())
    }

    fn work(&mut self, last: bool) -> Result<(), LogFault> {
        self.place()?;
        let now = Timestamp::new(OffsetDateTime::now_utc());
        if self.is_due(now, last)? {
            self.seal(now)?;
        }
        self.closer.tell(Word::Sealed(self.newest.as_ref().map_or(0, |newest| newest.size)))
    }

    fn is_due(&self, now: Timestamp, last: bool) -> Result<bool, LogFault> {
        let Some(newest) = &self.newest else { return Ok(true) };
        let behind = newest.time.moment() - now.moment();
        if behind > STEP_BACK {
            return Err(LogFault::Clock { now, newest: newest.time });
        }
        let grown = self.tree.size() > newest.size;
        let quiet = -behind >= self.settings.heartbeat_every;
        // No two checkpoints of one time: a verifier may ask which was first.
        Ok((grown || quiet) && (!behind.is_positive() || last))
    }

    /// Tiles first, then the history, then the newest note: whoever reads the note finds what it stands for.
    fn seal(&mut self, now: Timestamp) -> Result<(), LogFault> {
        pass(Point::BeforeCheckpoint);
        self.tree.write()?;
        let root = self.tree.root().ok_or(LogFault::Died)?;
        let time = self.newest.as_ref().map_or(now, |newest| now.max(newest.time));
        let (origin, size, keys) = (self.settings.name.clone(), self.tree.size(), Some(self.keys));
        let checkpoint = Checkpoint { origin, size, root, time, keys };
        let note = checkpoint.sign(&self.settings.key);
        self.history.append(format!("{note}\n").as_bytes())?;
        pass(Point::AfterHistory);
        // From here on the next one has to follow it, whatever becomes of the rest.
        self.newest = Some(checkpoint);
        self.unplaced = Some(Sealed { size, time, note: note.into() });
        self.place()
    }

    /// Puts the newest note where whoever reads looks for it.
    fn place(&mut self) -> Result<(), LogFault> {
        let Some(sealed) = &self.unplaced else { return Ok(()) };
        durable::replace(&self.layout.checkpoint(), sealed.note.as_bytes())?;
        self.tree.sweep();
        metrics::gauge!(fields::AUDIT_CHECKPOINT_SIZE).set(sealed.size as f64);
        metrics::gauge!(fields::AUDIT_CHECKPOINT_TIME).set(sealed.time.unix() as f64);
        self.sealed.send_replace(self.unplaced.take());
        Ok(())
    }
}
