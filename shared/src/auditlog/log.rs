//! The writer: appends whole lines, makes them durable, and knows what it has written.
//!
//! Lines stand in `seg/<first index>.jsonl` below the log's folder. One process writes: it holds a lock on `lock`.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::contract::{AuditEvent, Timestamp};

/// How long an event id is remembered in memory; an older event is looked up in the files.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// What can go wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// Another writer holds the log.
    #[error("another process writes the audit log in {}", .0.display())]
    Locked(PathBuf),
    /// Reading or writing failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that held the log died; a new start recovers it.
    #[error("the writer of the audit log died; start the process again")]
    Died,
    /// A line that this log never wrote.
    #[error("{} line {line} is no audit event; move the file aside and restore it from a copy", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

/// A line to append.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the line says.
    pub event: AuditEvent,
    /// The bytes of the line, without the line feed, as their producer rendered them.
    pub line: Vec<u8>,
}

/// The log, open for writing.
#[derive(Debug)]
pub struct AuditLog {
    _lock: File,
    segment: PathBuf,
    file: File,
    /// Bytes known to be durable; whatever lies beyond was never acknowledged.
    durable: u64,
    /// An append failed and its bytes are still there.
    torn: bool,
    known: HashMap<Uuid, Timestamp>,
    newest: Option<Timestamp>,
}

impl AuditLog {
    /// Opens or creates the log, cuts off a torn last line, and remembers the recent event ids.
    ///
    /// # Errors
    /// [`LogFault`]; [`LogFault::Locked`] ends when the other writer does.
    pub fn open(folder: &Path) -> Result<Self, LogFault> {
        let segments = folder.join("seg");
        std::fs::create_dir_all(&segments).map_err(io("create", &segments))?;
        let lock = lock(folder)?;
        let segment = segments.join(format!("{:020}.jsonl", 0));
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(&segment).map_err(io("open", &segment))?;
        for created in [segments.as_path(), folder, folder.parent().unwrap_or(folder)] {
            File::open(created).and_then(|dir| dir.sync_all()).map_err(io("sync", created))?;
        }
        let mut log = Self { _lock: lock, segment, file, durable: 0, torn: false, known: HashMap::new(), newest: None };
        log.recover()?;
        Ok(log)
    }

    /// The file that lines are appended to.
    pub fn segment(&self) -> &Path {
        &self.segment
    }

    /// Appends what is not there yet, with one write and one `fdatasync`. Returns how many lines that were. After an
    /// error nothing of it is there, and the same call may be made again.
    ///
    /// # Errors
    /// [`LogFault::Io`], for instance a full disk.
    pub fn append(&mut self, entries: &[Entry]) -> Result<usize, LogFault> {
        if self.torn {
            self.cut()?;
        }
        let old = self.search(entries)?;
        let mut bytes = Vec::new();
        let mut fresh = HashMap::new();
        for Entry { event, line } in entries {
            let id = &event.event_id;
            if fresh.contains_key(id) || self.known.contains_key(id) || old.contains(id) {
                continue;
            }
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            fresh.insert(event.event_id, moment(event));
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        if let Err(source) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            self.torn = true;
            self.cut()?;
            return Err(io("append to", &self.segment)(source));
        }
        self.durable += bytes.len() as u64;
        let written = fresh.len();
        self.remember(fresh);
        Ok(written)
    }

    /// Which of the events older than the window stand in the files, in one reading for all of them.
    fn search(&self, entries: &[Entry]) -> Result<HashSet<Uuid>, LogFault> {
        let horizon = self.newest.map(|newest| newest.moment() - WINDOW);
        let is_old = |event: &AuditEvent| horizon.is_some_and(|horizon| moment(event).moment() <= horizon);
        let wanted: HashSet<Uuid> = entries
            .iter()
            .filter(|entry| is_old(&entry.event) && !self.known.contains_key(&entry.event.event_id))
            .map(|entry| entry.event.event_id)
            .collect();
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let file = File::open(&self.segment).map_err(io("read", &self.segment))?;
        let mut found = HashSet::new();
        for line in BufReader::new(file).take(self.durable).split(b'\n') {
            let line = line.map_err(io("read", &self.segment))?;
            found.extend(AuditEvent::parse(&line).ok().map(|event| event.event_id).filter(|id| wanted.contains(id)));
        }
        Ok(found)
    }

    fn remember(&mut self, fresh: HashMap<Uuid, Timestamp>) {
        self.newest = self.newest.max(fresh.values().max().copied());
        self.known.extend(fresh);
        let Some(newest) = self.newest else { return };
        let horizon = newest.moment() - WINDOW;
        // Forgetting costs a pass over the map, so it waits until half of it may go.
        if self.known.len() > 1_000
            && self.known.values().filter(|t| t.moment() < horizon).count() * 2 > self.known.len()
        {
            self.known.retain(|_, t| t.moment() >= horizon);
        }
    }

    /// Reads the segment, remembers its ids, and cuts off a last line without its line feed: it was never
    /// acknowledged, so the broker delivers its event again.
    fn recover(&mut self) -> Result<(), LogFault> {
        let mut reader = BufReader::new(File::open(&self.segment).map_err(io("read", &self.segment))?);
        let mut line = Vec::new();
        let mut seen = HashMap::new();
        for number in 1.. {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(io("read", &self.segment))?;
            if line.pop() != Some(b'\n') {
                break;
            }
            let event =
                AuditEvent::parse(&line).map_err(|_| LogFault::Foreign { path: self.segment.clone(), line: number })?;
            seen.insert(event.event_id, moment(&event));
            self.durable += length as u64;
        }
        self.remember(seen);
        self.cut()
    }

    fn cut(&mut self) -> Result<(), LogFault> {
        self.file.set_len(self.durable).map_err(io("repair", &self.segment))?;
        self.file.seek(SeekFrom::End(0)).map_err(io("repair", &self.segment))?;
        self.file.sync_data().map_err(io("repair", &self.segment))?;
        self.torn = false;
        Ok(())
    }
}

/// When the event arose, but never later than now: a producer's clock that is ahead must not move the window.
fn moment(event: &AuditEvent) -> Timestamp {
    let now = Timestamp::new(OffsetDateTime::now_utc());
    // Checked when the event was parsed; an unreadable time counts as the oldest, which is looked up.
    Timestamp::parse(&event.timestamp).unwrap_or(Timestamp::new(OffsetDateTime::UNIX_EPOCH)).min(now)
}

fn lock(folder: &Path) -> Result<File, LogFault> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogFault::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(io("lock", &path)(source)),
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogFault {
    let path = path.to_owned();
    move |source| LogFault::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u128, day: u32) -> Entry {
        let event = AuditEvent {
            timestamp: format!("2026-01-{day:02}T00:00:00.000000Z"),
            org_id: "acme".into(),
            actor_id: "webhook:stripe".into(),
            action: "a".into(),
            resource_type: "r".into(),
            resource_id: "1".into(),
            metadata: serde_json::Map::new(),
            event_id: Uuid::from_u128(id),
            outcome: "applied".into(),
            policy_version: "0".into(),
        };
        let line = event.render().unwrap();
        Entry { event, line }
    }

    fn lines(log: &AuditLog) -> usize {
        std::fs::read_to_string(log.segment()).unwrap().lines().count()
    }

    #[test]
    fn an_event_has_one_line_however_often_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path()).unwrap();
        assert_eq!(log.append(&[entry(1, 1), entry(2, 1), entry(1, 1)]).unwrap(), 2);
        assert_eq!(log.append(&[entry(2, 1)]).unwrap(), 0);
        drop(log);
        let mut log = AuditLog::open(folder.path()).unwrap();
        assert_eq!(log.append(&[entry(1, 1), entry(3, 1)]).unwrap(), 1);
        assert_eq!(lines(&log), 3);
    }

    #[test]
    fn an_event_older_than_the_window_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path()).unwrap();
        let many: Vec<Entry> = (1..=1_200).map(|id| entry(id, 1)).collect();
        log.append(&many).unwrap();
        log.append(&[entry(5_000, 9)]).unwrap();
        assert!(log.known.len() < 1_000, "the window must have moved");
        assert_eq!(log.append(&[entry(7, 1)]).unwrap(), 0);
        assert_eq!(log.append(&[entry(6_000, 1)]).unwrap(), 1);
    }

    #[test]
    fn a_torn_last_line_is_cut_and_whole_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path()).unwrap();
        log.append(&[entry(1, 1), entry(2, 1)]).unwrap();
        let segment = log.segment().to_owned();
        drop(log);
        let whole = std::fs::read(&segment).unwrap();
        let second = entry(2, 1).line.len();
        for torn in whole.len() - second..whole.len() {
            std::fs::write(&segment, &whole[..torn]).unwrap();
            let mut log = AuditLog::open(folder.path()).unwrap();
            assert_eq!(lines(&log), 1);
            assert_eq!(log.append(&[entry(2, 1)]).unwrap(), 1);
            assert_eq!(std::fs::read(&segment).unwrap(), whole);
        }
    }

    #[test]
    fn two_writers_cannot_hold_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(folder.path()).unwrap();
        assert!(matches!(AuditLog::open(folder.path()), Err(LogFault::Locked(_))));
        drop(log);
        assert!(AuditLog::open(folder.path()).is_ok());
    }

    #[test]
    fn a_foreign_line_stops_the_writer_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("seg")).unwrap();
        let segment = folder.path().join("seg/00000000000000000000.jsonl");
        std::fs::write(&segment, "somebody else's\n").unwrap();
        assert!(matches!(AuditLog::open(folder.path()), Err(LogFault::Foreign { line: 1, .. })));
        assert_eq!(std::fs::read_to_string(&segment).unwrap(), "somebody else's\n");
    }
}
