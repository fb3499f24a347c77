//! Compression of closed segments, by a thread of its own that nobody waits for.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::durable::sync_folder_of;
use super::fault::{LogFault, io};
use super::layout::Layout;
use crate::telemetry::chain;

/// The level that costs least for what it saves: lines are alike.
const LEVEL: i32 = 3;
/// Bytes between two looks whether to stop.
const PIECE: usize = 1 << 20;

/// The thread that compresses.
pub(super) struct Packer {
    queue: Sender<u64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Packer {
    /// Starts with the segments that an earlier process may have left.
    pub(super) fn start(layout: Layout, left: impl Iterator<Item = u64>) -> Result<Self, LogFault> {
        let (queue, inbox) = channel();
        for first in left {
            // Nobody can have closed the channel yet.
            let _ = queue.send(first);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (Arc::clone(&stop), layout.segments_dir());
        let thread = std::thread::Builder::new()
            .name("audit packer".to_owned())
            .spawn(move || run(&layout, &inbox, &stopped))
            .map_err(io("start a thread for", &folder))?;
        Ok(Self { queue, stop, thread })
    }

    /// Compresses a closed segment some time.
    pub(super) fn pack(&self, first: u64) -> Result<(), LogFault> {
        self.queue.send(first).map_err(|_| LogFault::Died)
    }

    /// Leaves what it is at as it was.
    pub(super) fn stop(self) -> Result<(), LogFault> {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.queue);
        self.thread.join().map_err(|_| LogFault::Died)
    }
}

fn run(layout: &Layout, inbox: &Receiver<u64>, stop: &AtomicBool) {
    while let Ok(first) = inbox.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // The raw file stays where it is, and the next start tries again.
        if let Err(fault) = pack(&layout.segment(first), &layout.closed(first), stop) {
            tracing::error!(error = chain(&fault), "a closed segment could not be compressed");
        }
    }
}

/// The raw file goes when the compressed one is durable.
fn pack(raw: &Path, packed: &Path, stop: &AtomicBool) -> Result<(), LogFault> {
    if !packed.exists() {
        if !raw.exists() {
            return Ok(());
        }
        let fresh = packed.with_extension("zst.new");
        if !compress(raw, &fresh, stop)? {
            return std::fs::remove_file(&fresh).map_err(io("remove", &fresh));
        }
        std::fs::rename(&fresh, packed).map_err(io("replace", packed))?;
        sync_folder_of(packed)?;
    }
    match std::fs::remove_file(raw) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(io("remove", raw)(fault)),
        _ => Ok(()),
    }
}

/// False when it was stopped on the way.
fn compress(raw: &Path, fresh: &Path, stop: &AtomicBool) -> Result<bool, LogFault> {
    let mut source = File::open(raw).map_err(io("read", raw))?;
    let file = File::create(fresh).map_err(io("create", fresh))?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).map_err(io("write", fresh))?;
    encoder.include_checksum(true).map_err(io("write", fresh))?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = source.read(&mut piece).map_err(io("read", raw))?;
        if length == 0 {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        encoder.write_all(&piece[..length]).map_err(io("write", fresh))?;
    }
    encoder.finish().and_then(|file| file.sync_all()).map_err(io("write", fresh))?;
    Ok(true)
}
