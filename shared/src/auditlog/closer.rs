//! The closer: a thread that yields to all others and does what closed segments need. A flood of lines makes it late,
//! and nobody waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::closing::Closing;
use super::fault::{LogFault, io};
use crate::telemetry::chain;

/// The weakest claim to a processor that Linux knows.
const NICEST: i32 = 19;
/// When what a disk refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the sealer tells it.
pub(super) enum Word {
    /// A segment gets no more lines: its first index, and how many it has.
    Closed(u64, u64),
    /// An operator's act has its line, at this index.
    Act(u64, Vec<u8>),
    /// A checkpoint covers so many lines.
    Sealed(u64),
}

/// The sealer's end of the thread.
pub(super) struct Closer {
    words: Sender<Word>,
    stop: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<LogFault>>>,
    thread: JoinHandle<()>,
}

impl Closer {
    /// Starts the thread.
    pub(super) fn start(closing: Closing) -> Result<Self, LogFault> {
        let (words, inbox) = channel();
        let (stop, fault) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (stopped, left, folder) = (Arc::clone(&stop), Arc::clone(&fault), closing.folder());
        let thread = std::thread::Builder::new().name("audit closer".to_owned()).spawn(move || {
            // On Linux this is the calling thread alone. One that may not yield works all the same.
            let _ = rustix::process::setpriority_process(None, NICEST);
            if let Err(fault) = run(closing, &inbox, &stopped) {
                *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            }
        });
        let thread = thread.map_err(io("start a thread for", &folder))?;
        Ok(Self { words, stop, fault, thread })
    }

    /// Tells the thread; why it ended, when it does not listen.
    pub(super) fn tell(&self, word: Word) -> Result<(), LogFault> {
        let ended = || self.fault.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(LogFault::Died);
        self.words.send(word).map_err(|_| ended())
    }

    /// Waits until everything that was told is done, but for compression, which the next start goes on with.
    pub(super) fn stop(self) -> Result<(), LogFault> {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.words);
        self.thread.join().map_err(|_| LogFault::Died)?;
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

fn run(mut closing: Closing, inbox: &Receiver<Word>, stop: &AtomicBool) -> Result<(), LogFault> {
    let mut sealed = 0;
    loop {
        // Compression is what is done when there is nothing else.
        let pause = if closing.has_to_pack() { Duration::ZERO } else { AGAIN };
        match inbox.recv_timeout(pause) {
            Ok(Word::Closed(first, lines)) => closing.closed(first, lines),
            Ok(Word::Act(index, line)) => closing.act(index, line),
            Ok(Word::Sealed(size)) => sealed = size,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => closing.pack_one(stop),
        }
        match closing.work(sealed) {
            Err(fault @ LogFault::Io { .. }) => {
                tracing::error!(error = chain(&fault), "a closed segment waits; it is tried again");
            }
            ended => ended?,
        }
    }
}
