//! What retention drops: whole closed segments, by a named operator's line that a signed checkpoint covers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::durable::{self, Journal, whole_lines};
use super::fault::{LogFault, io};
use super::layout::Layout;
use super::line::Fields;
use super::segments::Closed;
use crate::contract::Timestamp;
use crate::telemetry::fields;

/// Lines of a full tile of leaves: only what stands in full tiles may go, since partial ones are removed.
const TILE: u64 = 256;

/// What a `retention.pruned` line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRecord {
    /// First index that goes.
    pub from: u64,
    /// First index that stays.
    pub to: u64,
    /// Root, in hex, of the newest checkpoint before the act.
    pub root_before: String,
    /// Hashes of the raw segments that go, in hex, in order.
    pub segment_sha256: Vec<String>,
    /// The window: every line that goes is older than so many days.
    pub days: u64,
    /// How many segments go.
    pub segments: u64,
}

/// One line of `retention.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    index: u64,
    line: String,
}

/// Carries out what operators asked for, and remembers it beyond the segment that says so.
pub(super) struct Retention {
    layout: Layout,
    journal: Journal,
    window: Duration,
    asked: VecDeque<(u64, Vec<u8>)>,
    /// Index of the last line in the journal.
    last: Option<u64>,
    /// Everything before has been dropped.
    dropped: u64,
    /// So far the files are gone.
    swept: u64,
}

/// Reads `retention.jsonl`: the last index in it, and the first line that was not dropped.
pub(super) fn read(layout: &Layout) -> Result<(Option<u64>, u64), LogFault> {
    let path = layout.retention();
    let bytes = durable::read(&path)?.unwrap_or_default();
    let (mut last, mut dropped) = (None, 0);
    for line in bytes[..whole_lines(&bytes)].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let kept: Option<Kept> = serde_json::from_slice(line).ok();
        let record = kept.as_ref().and_then(|kept| record_of(kept.line.as_bytes()));
        let (Some(kept), Some(record)) = (kept, record) else {
            return Err(LogFault::Damaged { path, problem: "is not the list of retention records" });
        };
        last = Some(kept.index);
        dropped = record.to;
    }
    Ok((last, dropped))
}

fn record_of(line: &[u8]) -> Option<PruneRecord> {
    Fields::read(line).and_then(|fields| serde_json::from_str(fields.metadata).ok())
}

impl PruneRecord {
    /// What of the ledger may go: whole segments from `from` on, whose every line is older than `days`, and which end
    /// within the full tiles of `sealed` lines. `None` when nothing may.
    pub fn plan(
        ledger: &[Closed],
        from: u64,
        sealed: u64,
        root_before: String,
        days: u64,
        now: Timestamp,
    ) -> Option<Self> {
        let horizon = now.moment() - time::Duration::days(i64::try_from(days).ok()?);
        let going: Vec<&Closed> = ledger
            .iter()
            .filter(|segment| segment.first >= from)
            .take_while(|segment| is_older(segment, horizon) && end(segment) <= sealed / TILE * TILE)
            .collect();
        let last = going.last()?;
        let segment_sha256 = going.iter().map(|segment| segment.sha256.clone()).collect();
        let segments = going.len() as u64;
        Some(Self { from, to: end(last), root_before, segment_sha256, days, segments })
    }
}

/// Was every line there before the horizon? By its own time, or because the segment was closed by then: a clock that was
/// ahead keeps nothing for ever. A time that cannot be read is not old.
fn is_older(segment: &Closed, horizon: OffsetDateTime) -> bool {
    let is_before = |text: &str| Timestamp::parse(text).is_some_and(|at| at.moment() < horizon);
    is_before(&segment.newest) || segment.closed.as_deref().is_some_and(is_before)
}

fn end(segment: &Closed) -> u64 {
    segment.first + segment.lines
}

impl Retention {
    pub(super) fn open(layout: Layout, window: Duration) -> Result<Self, LogFault> {
        let journal = Journal::open(&layout.retention(), whole_lines)?;
        let (last, dropped) = read(&layout)?;
        Ok(Self { layout, journal, window, asked: VecDeque::new(), last, dropped, swept: 0 })
    }

    /// A line asks for it.
    pub(super) fn asked(&mut self, index: u64, line: Vec<u8>) {
        if self.last.is_none_or(|last| last < index) {
            self.asked.push_back((index, line));
        }
    }

    /// Carries out what `sealed` lines cover. The tenants' heads must be past what goes.
    pub(super) fn work(&mut self, sealed: u64, heads: u64, ledger: &[Closed]) -> Result<(), LogFault> {
        while let Some((index, line)) = self.asked.front().filter(|(index, _)| *index < sealed) {
            let now = Timestamp::new(OffsetDateTime::now_utc());
            match record_of(line).filter(|record| record.to <= heads && self.allows(record, sealed, ledger, now)) {
                Some(record) => {
                    let kept = Kept { index: *index, line: String::from_utf8_lossy(line).into_owned() };
                    let text = serde_json::to_vec(&kept)
                        .map_err(|fault| io("describe", &self.layout.retention())(std::io::Error::other(fault)))?;
                    self.journal.append(&[text.as_slice(), b"\n"].concat())?;
                    self.last = Some(*index);
                    self.dropped = record.to;
                }
                None => {
                    metrics::counter!(fields::AUDIT_PRUNE_REFUSED).increment(1);
                    tracing::error!(
                        index,
                        "a retention record does not name whole segments beyond the retention window, so nothing is \
                         dropped; run `millrace audit prune` anew"
                    );
                }
            }
            self.asked.pop_front();
        }
        self.drop_files(ledger)
    }

    /// Does the record say what this log, and not who sent it, finds to be so?
    fn allows(&self, record: &PruneRecord, sealed: u64, ledger: &[Closed], now: Timestamp) -> bool {
        let seconds = record.days.saturating_mul(86_400);
        let planned = PruneRecord::plan(ledger, self.dropped, sealed, record.root_before.clone(), record.days, now);
        // Time has passed since the plan was made, so more may go by now than the record says.
        let within = planned.is_some_and(|planned| {
            planned.from == record.from
                && record.segments == record.segment_sha256.len() as u64
                && planned.segment_sha256.starts_with(&record.segment_sha256)
        });
        let going = ledger.iter().filter(|segment| segment.first >= record.from).take(record.segment_sha256.len());
        let whole = going.last().is_some_and(|last| end(last) == record.to);
        seconds >= self.window.as_secs() && within && whole
    }

    /// Removes the files of what was dropped, also those that a crash left.
    fn drop_files(&mut self, ledger: &[Closed]) -> Result<(), LogFault> {
        if self.swept == self.dropped {
            return Ok(());
        }
        for segment in ledger.iter().take_while(|segment| end(segment) <= self.dropped) {
            for path in [self.layout.segment(segment.first), self.layout.closed(segment.first)] {
                remove(path)?;
            }
        }
        self.swept = self.dropped;
        Ok(())
    }
}

fn remove(path: PathBuf) -> Result<(), LogFault> {
    match std::fs::remove_file(&path) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &path)(fault)),
        _ => Ok(()),
    }
}
