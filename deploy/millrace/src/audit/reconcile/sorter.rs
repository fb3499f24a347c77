//! Sorting more than fits in memory: sorted runs in files that vanish with the process, merged when all are there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result, Seek, Write};

/// Most bytes in memory before a run is written.
const RUN: usize = 48 << 20;
/// What a record takes beside its text.
const OVERHEAD: usize = 64;

/// What both sides of the comparison know a message by.
pub(super) type Key = [u8; 16];

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// A row of the inbox or a dead letter.
    Message,
    /// A line of the log.
    Line,
    /// A line on its way, in the outbox.
    Pending,
}

impl Side {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Message,
            1 => Self::Line,
            _ => Self::Pending,
        }
    }
}

/// One of the things compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) side: Side,
    /// It lies within the window and must have its counterpart.
    pub(super) due: bool,
    /// What a fault shows of it.
    pub(super) text: String,
}

impl Record {
    fn write(&self, out: &mut impl Write) -> Result<()> {
        let length = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        out.write_all(&self.key)?;
        out.write_all(&[self.side as u8, u8::from(self.due)])?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(self.text.as_bytes())
    }

    /// `None` at the end.
    fn read(from: &mut impl Read) -> Result<Option<Self>> {
        let mut head = [0; 22];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            Err(fault) if fault.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(fault) => return Err(fault),
        }
        let (mut key, mut length) = ([0; 16], [0; 4]);
        key.copy_from_slice(&head[..16]);
        length.copy_from_slice(&head[18..]);
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Some(Self { key, side: Side::from_byte(head[16]), due: head[17] == 1, text }))
    }
}

/// Takes records in any order.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    held: Vec<Record>,
    bytes: usize,
    runs: Vec<File>,
}

impl Sorter {
    pub(super) fn push(&mut self, record: Record) -> Result<()> {
        self.bytes += record.text.len() + OVERHEAD;
        self.held.push(record);
        if self.bytes >= RUN { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        self.held.sort_unstable();
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for record in self.held.drain(..) {
            record.write(&mut out)?;
        }
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        self.bytes = 0;
        Ok(())
    }

    /// All of them in order of their keys.
    pub(super) fn sorted(mut self) -> Result<Sorted> {
        self.held.sort_unstable();
        let mut runs: Vec<Run> = self.runs.drain(..).map(|file| Run::File(BufReader::new(file))).collect();
        runs.push(Run::Memory(std::mem::take(&mut self.held).into_iter()));
        let mut heads = BinaryHeap::new();
        for (place, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next()?.map(|record| Reverse((record, place))));
        }
        Ok(Sorted { runs, heads })
    }
}

#[derive(Debug)]
enum Run {
    File(BufReader<File>),
    Memory(std::vec::IntoIter<Record>),
}

impl Run {
    fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::File(file) => Record::read(file),
            Self::Memory(records) => Ok(records.next()),
        }
    }
}

/// The runs, merged.
#[derive(Debug)]
pub(super) struct Sorted {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(Record, usize)>>,
}

impl Sorted {
    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        let Some(Reverse((record, place))) = self.heads.pop() else { return Ok(None) };
        if let Some(run) = self.runs.get_mut(place) {
            self.heads.extend(run.next()?.map(|next| Reverse((next, place))));
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32) -> Record {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        let side = Side::from_byte(u8::try_from(number % 3).unwrap());
        Record { key, side, due: number.is_multiple_of(2), text: "é".repeat(usize::try_from(number % 50).unwrap()) }
    }

    #[test]
    fn records_come_back_in_order_from_memory_and_from_files_alike() {
        let mut wanted: Vec<Record> = (0..1_000).map(record).collect();
        for spills in [0, 1, 7] {
            let mut sorter = Sorter::default();
            for (number, record) in wanted.iter().enumerate() {
                sorter.push(record.clone()).unwrap();
                if spills > 0 && number % (1_000 / spills) == 3 {
                    sorter.spill().unwrap();
                }
            }
            wanted.sort();
            let (mut sorted, mut found) = (sorter.sorted().unwrap(), Vec::new());
            while let Some(record) = sorted.next().unwrap() {
                found.push(record);
            }
            assert_eq!(found, wanted, "{spills}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut sorter = Sorter::default();
        let text = "x".repeat(1 << 20);
        for _ in 0..100 {
            sorter.push(Record { text: text.clone(), ..record(1) }).unwrap();
            assert!(sorter.held.len() <= 48);
        }
        assert_eq!(sorter.runs.len(), 2);
    }
}
