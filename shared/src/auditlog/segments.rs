//! The segments of a log: which there are, and their lines, whether a file is raw or compressed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::contract::AuditEvent;

/// Bytes that are read at a time. Large enough for several of the longest lines, and small enough to stay in a processor's
/// cache.
const BLOCK: usize = 256 << 10;

/// Most lines of one batch: a processor still has them at hand when it comes back to them.
pub(super) const MOST_TOGETHER: usize = 32;

/// No log has a line behind this index: with any number of lines added it is still a number.
const LAST: u64 = u64::MAX >> 1;

/// One file of lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Index of its first line.
    pub first: u64,
    /// The file.
    pub path: PathBuf,
    /// Is it compressed with zstd?
    pub compressed: bool,
}

/// What `segments.jsonl` says about a closed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Index of its first line.
    pub first: u64,
    /// Number of lines.
    pub lines: u64,
    /// Bytes of the raw file.
    pub bytes: u64,
    /// SHA-256 of the raw file, in hexadecimal digits.
    pub sha256: String,
    /// Oldest timestamp of a line.
    pub oldest: String,
    /// Newest timestamp of a line.
    pub newest: String,
    /// When it was closed, so that every line was there; older versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// Why segments cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFault {
    /// Reading failed; a broken compressed file shows like this too.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file whose name is not that of a segment.
    #[error("{} is no segment of an audit log: move it away", .0.display())]
    Foreign(PathBuf),
    /// No line of ours is that long.
    #[error("{} line {line} is longer than 65535 bytes: this is no segment of an audit log", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// A line of the ledger that does not describe a segment.
    #[error("{} line {line} does not describe a segment", path.display())]
    Ledger {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> SegmentFault {
    let path = path.to_owned();
    move |source| SegmentFault::Io { path, source }
}

/// The segments in a log's folder by their first index. Where a raw file and a compressed one stand side by side, the
/// raw one counts: the compressed one may be unfinished.
///
/// # Errors
/// [`SegmentFault`].
pub fn segments(layout: &Layout) -> Result<Vec<Segment>, SegmentFault> {
    let folder = layout.segments_dir();
    let mut found: Vec<Segment> = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io(&folder))? {
        let path = entry.map_err(io(&folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_unfinished(name) {
            continue;
        }
        let (digits, compressed) = match (name.strip_suffix(".jsonl"), name.strip_suffix(".jsonl.zst")) {
            (Some(digits), _) => (digits, false),
            (None, Some(digits)) => (digits, true),
            (None, None) => return Err(SegmentFault::Foreign(path)),
        };
        let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        let Some(first) = digits.parse().ok().filter(|first| is_number && *first <= LAST) else {
            return Err(SegmentFault::Foreign(path));
        };
        found.push(Segment { first, path, compressed });
    }
    found.sort_by_key(|segment| (segment.first, segment.compressed));
    found.dedup_by_key(|segment| segment.first);
    Ok(found)
}

/// A file that the writer has not given its name yet.
fn is_unfinished(name: &str) -> bool {
    name.ends_with(".tmp") || name.ends_with(".new")
}

/// The closed segments that the ledger names. A last line without its line feed was cut off by a crash and does not count.
///
/// # Errors
/// [`SegmentFault`].
pub fn ledger(layout: &Layout) -> Result<Vec<Closed>, SegmentFault> {
    let path = layout.ledger();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => return Err(io(&path)(fault)),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|source| SegmentFault::Ledger {
                path: path.clone(),
                line: at + 1,
                source,
            })
        })
        .collect()
}

enum Source {
    Raw(File),
    Zstd(Box<zstd::stream::read::Decoder<'static, std::io::BufReader<File>>>),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Raw(file) => file.read(into),
            Self::Zstd(decoder) => decoder.read(into),
        }
    }
}

/// The lines of one file, in one buffer that is used again and again.
pub struct Lines {
    path: PathBuf,
    source: Source,
    /// The bytes in `start..end` are read and not given out yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    number: u64,
    torn: usize,
    /// Where the lines of a batch begin and end.
    bounds: Vec<(usize, usize)>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("path", &self.path).field("number", &self.number).finish_non_exhaustive()
    }
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    bytes: &'a [u8],
    /// From 1.
    pub number: u64,
}

impl<'a> Line<'a> {
    /// The line without its line feed.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Lines that follow one another, for whoever gets more done with several at once.
#[derive(Debug)]
pub struct Batch<'a> {
    buffer: &'a [u8],
    bounds: &'a [(usize, usize)],
    /// Number of the first line.
    first: u64,
}

impl<'a> Batch<'a> {
    /// The end of the file was reached.
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// The lines in their order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'a>> {
        let (buffer, bounds) = (self.buffer, self.bounds);
        (self.first..).zip(bounds).map(|(number, (begin, end))| Line { bytes: &buffer[*begin..*end], number })
    }
}

impl Lines {
    /// Opens a segment. A raw one may have been compressed since it was listed.
    ///
    /// # Errors
    /// [`SegmentFault::Io`].
    pub fn open(segment: &Segment) -> Result<Self, SegmentFault> {
        let packed = segment.path.with_extension("jsonl.zst");
        if !segment.compressed && !segment.path.exists() && packed.exists() {
            return Self::of_file(&packed, true);
        }
        Self::of_file(&segment.path, segment.compressed)
    }

    /// Opens any file of lines.
    ///
    /// # Errors
    /// [`SegmentFault::Io`].
    pub fn of_file(path: &Path, compressed: bool) -> Result<Self, SegmentFault> {
        let file = File::open(path).map_err(io(path))?;
        let source = if compressed {
            Source::Zstd(Box::new(zstd::stream::read::Decoder::new(file).map_err(io(path))?))
        } else {
            Source::Raw(file)
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            buffer: vec![0; BLOCK + AuditEvent::LONGEST + 1],
            start: 0,
            end: 0,
            ended: false,
            number: 0,
            torn: 0,
            bounds: Vec::with_capacity(MOST_TOGETHER),
        })
    }

    /// The next whole line.
    ///
    /// # Errors
    /// [`SegmentFault`].
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, SegmentFault> {
        let Some((begin, end)) = self.advance()? else { return Ok(None) };
        Ok(Some(Line { bytes: &self.buffer[begin..end], number: self.number }))
    }

    /// The next whole lines: one at least, unless the file has ended, and as many more as are at hand.
    ///
    /// # Errors
    /// [`SegmentFault`].
    pub fn next_lines(&mut self) -> Result<Batch<'_>, SegmentFault> {
        let first = self.number + 1;
        self.bounds.clear();
        if let Some(bounds) = self.advance()? {
            self.bounds.push(bounds);
            while self.bounds.len() < MOST_TOGETHER
                && let Some(length) = memchr::memchr(b'\n', &self.buffer[self.start..self.end])
                && length <= AuditEvent::LONGEST
            {
                let bounds = self.give(length);
                self.bounds.push(bounds);
            }
        }
        Ok(Batch { buffer: &self.buffer, bounds: &self.bounds, first })
    }

    /// Where the next line begins and ends in the buffer, which is filled for it.
    fn advance(&mut self) -> Result<Option<(usize, usize)>, SegmentFault> {
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let length = searched + at - self.start;
                if length > AuditEvent::LONGEST {
                    return Err(SegmentFault::TooLong { path: self.path.clone(), line: self.number + 1 });
                }
                return Ok(Some(self.give(length)));
            }
            let unsearched = self.end - self.start;
            if self.ended {
                self.torn = unsearched;
                return Ok(None);
            }
            if unsearched > AuditEvent::LONGEST {
                return Err(SegmentFault::TooLong { path: self.path.clone(), line: self.number + 1 });
            }
            self.fill()?;
            searched = self.start + unsearched;
        }
    }

    /// Steps over a line of this length and its line feed.
    fn give(&mut self, length: usize) -> (usize, usize) {
        let begin = self.start;
        self.start = begin + length + 1;
        self.number += 1;
        (begin, begin + length)
    }

    /// Bytes behind the last line feed, once [`Lines::next_line`] has ended: a line that was not written whole.
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// Lines that were given out.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fill(&mut self) -> Result<(), SegmentFault> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = self.end + BLOCK;
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..room]) {
                Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(io(&self.path))?,
            }
        };
        self.ended = read == 0;
        self.end += read;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
