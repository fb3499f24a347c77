//! Reading the log while it grows: line after line in file order, from a place that whoever reads has kept.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes of one reading, beyond which it ends with the line at hand.
const MOST_BYTES: usize = 4 << 20;

/// A place in the log: before its first line, between two, or behind the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Lines before it in the whole log.
    pub lines: u64,
    /// First line of the file that it is in.
    pub segment: u64,
    /// Bytes before it in that file, as it was written.
    pub offset: u64,
}

/// A line and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its place.
    pub place: Place,
    /// Its bytes, without the line feed.
    pub line: Vec<u8>,
}

/// Why the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TailFault {
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The newest checkpoint is no text that this build knows.
    #[error("{} is no checkpoint; run millrace audit verify", .0.display())]
    Checkpoint(PathBuf),
    /// A checkpoint covers lines that no file has.
    #[error("line {line} of the audit log is covered by its checkpoint and in no file; run millrace audit verify")]
    Short {
        /// Counted from 0 over the whole log.
        line: u64,
    },
}

/// Reads on from a place.
pub struct Tail {
    segments: PathBuf,
    next: Place,
    open: Option<Box<dyn BufRead + Send>>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("segments", &self.segments).field("next", &self.next).finish_non_exhaustive()
    }
}

/// How many lines of the log in a folder are covered by its newest checkpoint. They are durable and are never taken back;
/// what lies beyond may be.
///
/// # Errors
/// The checkpoint cannot be read.
pub fn covered(folder: &Path) -> Result<u64, TailFault> {
    let path = folder.join("checkpoint");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(TailFault::Io { path, source }),
    };
    text.lines().nth(1).and_then(|size| size.parse().ok()).ok_or(TailFault::Checkpoint(path))
}

impl Tail {
    /// Begins at a place; where the files before a later one are gone, at the first line that is there.
    pub fn at(folder: &Path, next: Place) -> Self {
        Self { segments: folder.join("seg"), next, open: None }
    }

    /// Where the next line begins.
    pub fn place(&self) -> Place {
        self.next
    }

    /// Up to `most` lines, and none beyond the first `until` of the log.
    ///
    /// # Errors
    /// [`TailFault`]; the place stays behind the last line that was read.
    pub fn read(&mut self, until: u64, most: usize) -> Result<Vec<Placed>, TailFault> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < most && bytes < MOST_BYTES && self.next.lines < until {
            let Some(line) = self.line(until)? else { continue };
            bytes += line.len();
            let place = self.next;
            self.next.lines += 1;
            self.next.offset += line.len() as u64 + 1;
            lines.push(Placed { place, line });
        }
        Ok(lines)
    }

    /// The next line of the file at hand; `None` after stepping to another file.
    fn line(&mut self, until: u64) -> Result<Option<Vec<u8>>, TailFault> {
        if self.open.is_none() {
            self.open = self.file()?;
        }
        let Some(open) = &mut self.open else { return self.skip(until) };
        let mut line = Vec::new();
        let path = self.segments.join(raw(self.next.segment));
        open.read_until(b'\n', &mut line).map_err(|source| TailFault::Io { path, source })?;
        if line.pop() == Some(b'\n') {
            return Ok(Some(line));
        }
        self.open = None;
        // A file is whole when the next one has begun; what is asked for is durable, so it is there.
        if self.next.lines > self.next.segment && self.exists(self.next.lines) {
            self.next = Place { segment: self.next.lines, offset: 0, ..self.next };
            return Ok(None);
        }
        Err(TailFault::Short { line: self.next.lines })
    }

    /// The file of this place, open at it.
    fn file(&self) -> Result<Option<Box<dyn BufRead + Send>>, TailFault> {
        let path = self.segments.join(raw(self.next.segment));
        match File::open(&path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(self.next.offset)).map_err(|source| TailFault::Io { path, source })?;
                Ok(Some(Box::new(BufReader::with_capacity(1 << 16, file))))
            }
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => self.compressed(),
            Err(source) => Err(TailFault::Io { path, source }),
        }
    }

    fn compressed(&self) -> Result<Option<Box<dyn BufRead + Send>>, TailFault> {
        let path = self.segments.join(compressed(self.next.segment));
        let fault = |source| TailFault::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(fault(source)),
        };
        let mut reader = BufReader::with_capacity(1 << 16, zstd::Decoder::new(file).map_err(fault)?);
        std::io::copy(&mut reader.by_ref().take(self.next.offset), &mut std::io::sink()).map_err(fault)?;
        Ok(Some(Box::new(reader)))
    }

    /// The file is gone, with all before it: goes on at the oldest that is there.
    fn skip(&mut self, until: u64) -> Result<Option<Vec<u8>>, TailFault> {
        let names = match std::fs::read_dir(&self.segments) {
            Ok(names) => names,
            Err(source) => return Err(TailFault::Io { path: self.segments.clone(), source }),
        };
        let firsts = names.filter_map(|entry| first(entry.ok()?.file_name().to_str()?));
        let next = firsts.filter(|first| *first > self.next.segment && *first >= self.next.lines).min();
        match next.filter(|first| *first <= until) {
            Some(first) => self.next = Place { lines: first, segment: first, offset: 0 },
            None => return Err(TailFault::Short { line: self.next.lines }),
        }
        Ok(None)
    }

    fn exists(&self, segment: u64) -> bool {
        [raw(segment), compressed(segment)].iter().any(|name| self.segments.join(name).exists())
    }
}

fn raw(segment: u64) -> String {
    format!("{segment:020}.jsonl")
}

fn compressed(segment: u64) -> String {
    format!("{segment:020}.jsonl.zst")
}

/// The first line of the file of this name.
fn first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".jsonl.zst"))?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of these lines, each of the given number; those named are compressed.
    fn log(files: &[(u64, u64)], packed: &[u64]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("seg")).unwrap();
        for (first, lines) in files {
            let text: String = (*first..first + lines).map(|number| format!("line {number}\n")).collect();
            let (name, bytes) = if packed.contains(first) {
                (compressed(*first), zstd::encode_all(text.as_bytes(), 0).unwrap())
            } else {
                (raw(*first), text.into_bytes())
            };
            std::fs::write(folder.path().join("seg").join(name), bytes).unwrap();
        }
        folder
    }

    fn numbers(lines: &[Placed]) -> Vec<u64> {
        lines.iter().map(|placed| String::from_utf8_lossy(&placed.line[5..]).parse().unwrap()).collect()
    }

    #[test]
    fn lines_are_read_across_files_and_on_from_any_place() {
        for packed in [&[][..], &[0], &[0, 4, 9]] {
            let folder = log(&[(0, 4), (4, 5), (9, 2)], packed);
            let all = Tail::at(folder.path(), Place::default()).read(11, 100).unwrap();
            assert_eq!(numbers(&all), (0..11).collect::<Vec<_>>());
            for from in &all {
                let rest = Tail::at(folder.path(), from.place).read(11, 100).unwrap();
                assert_eq!(rest, all[usize::try_from(from.place.lines).unwrap()..]);
            }
            assert_eq!(all[5].place, Place { lines: 5, segment: 4, offset: 7 });
        }
    }

    #[test]
    fn nothing_is_read_beyond_what_is_covered_and_growth_is_read_when_it_is() {
        let folder = log(&[(0, 4)], &[]);
        let mut tail = Tail::at(folder.path(), Place::default());
        assert_eq!(numbers(&tail.read(2, 100).unwrap()), [0, 1]);
        assert!(tail.read(2, 100).unwrap().is_empty());
        assert_eq!(numbers(&tail.read(4, 1).unwrap()), [2]);
        let file = folder.path().join("seg").join(raw(0));
        let mut text = std::fs::read_to_string(&file).unwrap();
        text.push_str("line 4\n");
        std::fs::write(&file, &text).unwrap();
        assert_eq!(numbers(&tail.read(5, 100).unwrap()), [3, 4]);
        assert!(matches!(tail.read(6, 100), Err(TailFault::Short { line: 5 })));
        text.push_str("line 5\n");
        std::fs::write(&file, &text).unwrap();
        assert_eq!(numbers(&tail.read(6, 100).unwrap()), [5], "it goes on once the line is there");
    }

    #[test]
    fn what_retention_has_dropped_is_skipped_and_a_hole_is_told() {
        let folder = log(&[(4, 5), (9, 2)], &[4]);
        let mut tail = Tail::at(folder.path(), Place::default());
        assert_eq!(numbers(&tail.read(11, 100).unwrap()), (4..11).collect::<Vec<_>>());
        let folder = log(&[(0, 4)], &[]);
        let mut tail = Tail::at(folder.path(), Place { lines: 4, segment: 4, offset: 0 });
        assert!(matches!(tail.read(5, 100), Err(TailFault::Short { line: 4 })));
    }

    #[test]
    fn the_size_of_the_newest_checkpoint_is_read_and_other_text_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(covered(folder.path()).unwrap(), 0);
        std::fs::write(folder.path().join("checkpoint"), "log\n17\nAAAA\n\n— log BBBB\n").unwrap();
        assert_eq!(covered(folder.path()).unwrap(), 17);
        std::fs::write(folder.path().join("checkpoint"), "nonsense").unwrap();
        assert!(matches!(covered(folder.path()), Err(TailFault::Checkpoint(_))));
    }
}
