//! Files that are whole or not there: replaced by rename, or appended to and cut when an append was torn.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::fault::{LogFault, io};

/// Writes a file of its own and moves it to its place, durable before and after.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
    let fresh = path.with_extension("new");
    write(&fresh, bytes)?;
    std::fs::rename(&fresh, path).map_err(io("replace", path))?;
    sync_folder_of(path)
}

/// Writes a whole file and makes its bytes durable; its name is durable with the folder.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
    let mut file = File::create(path).map_err(io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(io("write", path))
}

/// Makes the names in the file's folder durable.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), LogFault> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

/// Reads a file that need not be there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, LogFault> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(io("read", path)(fault)),
    }
}

/// An append-only file of whole records.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    /// An append failed and its bytes may still be there.
    torn: bool,
}

impl Journal {
    /// Opens or creates it. `whole` says how many of the last bytes of the file, which it is given, are whole records;
    /// what a crash tore off a record behind them is cut off, a record that lacks its end gets it, and anything else is
    /// left as it is, with a fault.
    pub(super) fn open(path: &Path, whole: impl FnOnce(&[u8]) -> usize) -> Result<Self, LogFault> {
        let there = path.exists();
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(io("open", path))?;
        if !there {
            sync_folder_of(path)?;
        }
        let mut journal = Self { path: path.to_owned(), file, length: 0, torn: false };
        journal.length = journal.file.metadata().map_err(io("read", path))?.len();
        let tail = journal.tail()?;
        let rest = &tail[whole(&tail)..];
        match ending(rest) {
            Ending::Torn if rest.is_empty() => {}
            Ending::Torn => {
                journal.length -= rest.len() as u64;
                journal.cut()?;
            }
            Ending::Lacks(end) => journal.append(end)?,
            Ending::Foreign => {
                return Err(LogFault::Damaged {
                    path: journal.path,
                    problem: "ends with what is no record of this log",
                });
            }
        }
        Ok(journal)
    }

    /// Appends one record, durable when this returns; after an error none of it is there, or it goes before the next.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), LogFault> {
        if self.torn {
            self.cut()?;
        }
        if let Err(source) = self.file.write_all(record).and_then(|()| self.file.sync_data()) {
            self.torn = true;
            self.cut()?;
            return Err(io("append to", &self.path)(source));
        }
        self.length += record.len() as u64;
        Ok(())
    }

    /// The last bytes of the file: some records, and more than any one.
    pub(super) fn tail(&mut self) -> Result<Vec<u8>, LogFault> {
        const TAIL: u64 = 256 << 10;
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(self.length.saturating_sub(TAIL)))
            .and_then(|_| (&mut self.file).take(TAIL).read_to_end(&mut bytes))
            .map_err(io("read", &self.path))?;
        Ok(bytes)
    }

    fn cut(&mut self) -> Result<(), LogFault> {
        self.file.set_len(self.length).and_then(|()| self.file.sync_data()).map_err(io("repair", &self.path))?;
        self.torn = false;
        Ok(())
    }
}

/// What stands behind the last whole record.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// The beginning of one record.
    Torn,
    /// A record that lacks these bytes.
    Lacks(&'static [u8]),
    Foreign,
}

fn ending(rest: &[u8]) -> Ending {
    if rest.starts_with(b"{") {
        return match serde_json::from_slice::<serde::de::IgnoredAny>(rest) {
            Ok(_) => Ending::Lacks(b"\n"),
            Err(fault) if fault.is_eof() => Ending::Torn,
            Err(_) => Ending::Foreign,
        };
    }
    let text = String::from_utf8_lossy(rest);
    let mut lines = text.split('\n');
    let (origin, size) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let is_size = size.bytes().all(|byte| byte.is_ascii_digit());
    if text.contains('\r') || origin.contains(char::is_whitespace) || !is_size {
        return Ending::Foreign;
    }
    // A signature of this log ends with padding.
    match text.split_once("\n\n") {
        Some((_, signed)) if signed.ends_with('=') => Ending::Lacks(b"\n\n"),
        Some((_, signed)) if signed.ends_with("=\n") => Ending::Lacks(b"\n"),
        Some((_, signed)) if signed.contains('\n') => Ending::Foreign,
        _ if text.matches('\n').count() > 5 => Ending::Foreign,
        _ => Ending::Torn,
    }
}

/// How many bytes are whole lines.
pub(super) fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// How many bytes are whole notes, each followed by an empty line. A note has an empty line in its middle, too: its last
/// line is a signature, which begins with a dash.
pub(super) fn whole_notes(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while let Some(at) = bytes[..end].windows(2).rposition(|pair| pair == b"\n\n") {
        let last = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        if bytes[last..].starts_with("\u{2014} ".as_bytes()) {
            return at + 2;
        }
        end = at + 1;
    }
    0
}
