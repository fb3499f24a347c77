//! The log's side: its lines, one by one.

use std::path::{Path, PathBuf};

use millrace::auditlog::{Place, Placed, StoredLine, Tail, TailFault, covered};
use millrace::contract::AuditEventKey;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::compare::{Fault, FaultName};
use super::identity::{Line, judge};
use super::sorter::{Record, Side, Sorter};
use super::{SLACK, Tally};

/// Lines of one reading.
const BATCH: usize = 10_000;

/// Reads the log on and on.
pub(super) struct Log<'a> {
    folder: PathBuf,
    tail: Tail,
    key: &'a AuditEventKey,
    /// The first line that was asked for.
    asked: u64,
}

/// A closed file, as the log's own list has it.
#[derive(Deserialize)]
struct Closed {
    first: u64,
    lines: u64,
    newest: String,
}

impl<'a> Log<'a> {
    /// From the file that has the first line of this moment or later.
    pub(super) fn since(folder: &Path, from: OffsetDateTime, key: &'a AuditEventKey) -> Self {
        let list = std::fs::read_to_string(folder.join("segments.jsonl")).unwrap_or_default();
        let closed = list.lines().filter_map(|line| serde_json::from_str::<Closed>(line).ok());
        let older = closed.take_while(|file| OffsetDateTime::parse(&file.newest, &Rfc3339).is_ok_and(|at| at < from));
        let start = older.last().map_or(0, |file| file.first + file.lines);
        let place = Place { lines: start, segment: start, offset: 0 };
        Self { folder: folder.to_owned(), tail: Tail::at(folder, place), key, asked: start }
    }

    /// Lines that can be read at present.
    pub(super) fn lines(&self) -> Result<u64, TailFault> {
        covered(&self.folder)
    }

    /// The next lines, none beyond so many of the whole log.
    pub(super) fn read(&mut self, until: u64) -> Result<Vec<Placed>, TailFault> {
        self.tail.read(until, BATCH)
    }

    /// When the first of these lines arose, where lines before it are gone from the files.
    pub(super) fn oldest(&self, lines: &[Placed]) -> Option<OffsetDateTime> {
        let first = lines.first().filter(|first| first.place.lines > self.asked)?;
        StoredLine::parse(&first.line).map(|line| line.timestamp)
    }

    /// Gives the comparison these lines, as far as they belong to the window; returns faults that a line has by itself.
    pub(super) fn offer(
        &self,
        lines: &[Placed],
        start: OffsetDateTime,
        sorter: &mut Sorter,
        tally: &mut Tally,
    ) -> std::io::Result<Vec<Fault>> {
        let mut faults = Vec::new();
        for placed in lines {
            let number = placed.place.lines;
            let Some(line) = StoredLine::parse(&placed.line) else {
                faults.push(Fault::of_line(FaultName::LineUnreadable, number, None));
                continue;
            };
            if line.timestamp < start - SLACK {
                continue;
            }
            tally.lines += 1;
            let text = format!("{number}\t{}\t{}", line.org_id, line.event_id);
            match judge(&line, self.key) {
                Line::Act => tally.acts += 1,
                Line::Foreign => faults.push(Fault::of_line(FaultName::LineForeign, number, Some(&text))),
                Line::Settlement { key, rowless } => {
                    let due = line.timestamp >= start && !rowless;
                    sorter.push(Record { key, side: Side::Line, due, text })?;
                }
            }
        }
        Ok(faults)
    }

    /// The settlement that a line stands for.
    pub(super) fn settlement(&self, placed: &Placed) -> Option<super::sorter::Key> {
        match judge(&StoredLine::parse(&placed.line)?, self.key) {
            Line::Settlement { key, .. } => Some(key),
            Line::Act | Line::Foreign => None,
        }
    }
}
