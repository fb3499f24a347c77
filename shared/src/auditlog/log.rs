//! The writer: appends whole lines, makes them durable, and knows what it has written.
//!
//! Lines stand in `seg/<first index>.jsonl` below the log's folder. One process writes: it holds a lock on `lock`.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::durable::sync_folder_of;
use super::entry::Entry;
use super::fault::{LogFault, io};
use super::layout::Layout;
use super::recover;
use super::sealer::{Handle, Sealed, Settings, Told};
use super::stager::{Block, Stager};
use crate::chaos::{Point, pass};

/// The log, open for writing.
#[derive(Debug)]
pub struct AuditLog {
    stager: Stager,
    appender: Appender,
    /// Lines that are staged and not yet durable.
    block: Block,
}

impl AuditLog {
    /// Opens or creates the log, cuts off a torn last line, remembers recent event ids and tenants' last lines, and
    /// compares what it finds with the newest checkpoint.
    ///
    /// # Errors
    /// [`LogFault`]; [`LogFault::Locked`] ends when the other writer does.
    pub fn open(folder: &Path, settings: Settings) -> Result<Self, LogFault> {
        let (stager, appender) = recover::open(folder, settings)?;
        Ok(Self { stager, appender, block: Block::default() })
    }

    /// The file that lines are appended to.
    pub fn segment(&self) -> &Path {
        &self.appender.path
    }

    /// The newest checkpoint, now and later.
    pub fn sealed(&self) -> watch::Receiver<Option<Sealed>> {
        self.appender.sealer.sealed()
    }

    /// Appends what is not there yet, with one write and one `fdatasync`. Returns how many lines that were. After an
    /// error the same call may be made again.
    ///
    /// # Errors
    /// [`LogFault::Io`], for instance a full disk, and [`LogFault::Uncovered`]; any other ends the writer.
    pub fn append(&mut self, entries: &[Entry]) -> Result<usize, LogFault> {
        // What an earlier call could not write.
        let mut written = self.flush()?;
        self.stager.stage(entries, &mut self.block)?;
        written += self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> Result<usize, LogFault> {
        let lines = self.block.lines();
        if lines > 0 {
            self.appender.write(&mut self.block)?;
        }
        Ok(lines)
    }

    /// As [`Appender::seal`].
    ///
    /// # Errors
    /// What ended the sealer.
    pub fn seal(&self) -> Result<u64, LogFault> {
        self.appender.seal()
    }

    /// Both halves, for a writer that stages the next lines while the last ones become durable.
    pub fn split(self) -> (Stager, Appender) {
        (self.stager, self.appender)
    }

    /// Ends with a checkpoint of every line.
    ///
    /// # Errors
    /// The checkpoint could not be written; the next start writes it.
    pub fn close(self) -> Result<(), LogFault> {
        self.appender.close()
    }
}

/// The writer's acting half: writes blocks in the order in which they were staged.
#[derive(Debug)]
pub struct Appender {
    pub(super) layout: Layout,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// First index of the open segment.
    pub(super) first: u64,
    /// Lines in it.
    pub(super) lines: u64,
    /// Bytes known to be durable; whatever lies beyond was never acknowledged.
    pub(super) durable: u64,
    /// An append failed and its bytes may still be there.
    pub(super) torn: bool,
    pub(super) sealer: Handle,
    /// The last field, so that it is let go of when the sealer has written its last checkpoint.
    pub(super) _lock: File,
}

impl Appender {
    /// Makes a block durable and empties it. After an error it is as it was, and may be written again.
    ///
    /// # Errors
    /// [`LogFault::Io`], for instance a full disk, and [`LogFault::Uncovered`]; any other ends the writer.
    pub fn write(&mut self, block: &mut Block) -> Result<(), LogFault> {
        self.sealer.admits(self.first + self.lines)?;
        if let Some(first) = block.opens {
            self.open_next(first)?;
            block.opens = None;
        }
        if self.torn {
            self.cut()?;
        }
        if let Err(source) = self.write_bytes(&block.bytes) {
            self.torn = true;
            self.cut()?;
            return Err(io("append to", &self.path)(source));
        }
        pass(Point::AfterSync);
        self.durable += block.bytes.len() as u64;
        self.lines += block.leaves.len() as u64;
        block.bytes.clear();
        let acts = block.acts.drain(..).map(|(index, line)| Told::Act(index, line));
        let room = Vec::with_capacity(block.leaves.len());
        let grown = Told::Grown(std::mem::replace(&mut block.leaves, room));
        acts.chain([grown]).try_for_each(|told| self.sealer.tell(told))
    }

    /// Has a checkpoint signed now, and not within the next second. Returns how many lines the newest one covers: all,
    /// unless the disk refuses.
    ///
    /// # Errors
    /// What ended the sealer.
    pub fn seal(&self) -> Result<u64, LogFault> {
        self.sealer.seal()
    }

    /// Ends with a checkpoint of every line.
    ///
    /// # Errors
    /// As [`AuditLog::close`].
    pub fn close(mut self) -> Result<(), LogFault> {
        self.sealer.stop()
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        pass(Point::AfterWrite);
        self.file.sync_data()
    }

    fn open_next(&mut self, first: u64) -> Result<(), LogFault> {
        let path = self.layout.segment(first);
        let file = open_segment(&path)?;
        pass(Point::AfterRotation);
        self.sealer.tell(Told::Closed(self.first, self.lines))?;
        (self.path, self.file, self.first, self.lines, self.durable) = (path, file, first, 0, 0);
        Ok(())
    }

    fn cut(&mut self) -> Result<(), LogFault> {
        cut(&mut self.file, &self.path, self.durable)?;
        self.torn = false;
        Ok(())
    }
}

/// Cuts a segment off behind its whole lines, and makes those durable.
pub(super) fn cut(file: &mut File, path: &Path, bytes: u64) -> Result<(), LogFault> {
    file.set_len(bytes).map_err(io("repair", path))?;
    file.seek(SeekFrom::End(0)).map_err(io("repair", path))?;
    file.sync_data().map_err(io("repair", path))
}

/// Opens or creates a segment; its name is durable when this returns.
pub(super) fn open_segment(path: &Path) -> Result<File, LogFault> {
    let mut options = OpenOptions::new();
    let file = options.create(true).read(true).append(true).open(path).map_err(io("open", path))?;
    sync_folder_of(path)?;
    Ok(file)
}
