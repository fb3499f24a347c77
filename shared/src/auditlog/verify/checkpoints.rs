//! The checkpoints of a log, one at a time, however long their history is.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use super::super::layout::Layout;
use super::super::note::{Checkpoint, VerifyingKey};
use super::trust::Trust;
use super::{Fault, Finding, VerifyFault};

/// The notes of `checkpoints.log`.
pub(super) struct Notes {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// How many more are handed on.
    left: u64,
}

impl Notes {
    pub(super) fn open(layout: &Layout) -> Result<Self, VerifyFault> {
        let path = layout.history();
        match File::open(&path) {
            Ok(file) => Ok(Self { path, reader: Some(BufReader::new(file)), left: u64::MAX }),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, reader: None, left: u64::MAX })
            }
            Err(source) => Err(VerifyFault::Io { path, source }),
        }
    }

    /// The first so many alone: whatever a running log signs meanwhile is left for the next time.
    pub(super) fn up_to(self, left: u64) -> Self {
        Self { left, ..self }
    }

    pub(super) fn is_there(&self) -> bool {
        self.reader.is_some()
    }

    /// The next note. One that a crash cut off at the end is left out.
    pub(super) fn next(&mut self) -> Result<Option<String>, VerifyFault> {
        let Some(reader) = self.reader.as_mut().filter(|_| self.left > 0) else { return Ok(None) };
        let (mut note, mut empty) = (Vec::new(), 0);
        loop {
            let before = note.len();
            let read = reader.read_until(b'\n', &mut note);
            read.map_err(|source| VerifyFault::Io { path: self.path.clone(), source })?;
            match &note[before..] {
                [] => return Ok(None),
                b"\n" => empty += 1,
                _ => {}
            }
            // The first empty line stands before the signatures, the second after the note.
            if empty == 2 {
                note.pop();
                self.left -= 1;
                return Ok(Some(String::from_utf8_lossy(&note).into_owned()));
            }
        }
    }
}

/// The newest checkpoint that is signed as it should be.
pub(super) struct Newest {
    pub(super) note: Option<String>,
    pub(super) signed: Option<(Checkpoint, VerifyingKey)>,
    pub(super) findings: Vec<Finding>,
    /// Number of notes in the history.
    pub(super) notes: u64,
}

/// Looks at `checkpoint` and at the end of the history.
pub(super) fn newest(layout: &Layout, trust: &Trust) -> Result<Newest, VerifyFault> {
    let path = layout.checkpoint();
    let head = match std::fs::read(&path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(VerifyFault::Io { path, source }),
    };
    let mut history = Notes::open(layout)?;
    let (mut last, mut before, mut notes, mut listed) = (None, None, 0, None);
    while let Some(note) = history.next()? {
        notes += 1;
        if head.as_deref() == Some(note.as_str()) {
            listed = Some(notes);
        }
        before = last.replace(note);
    }
    let grew = || std::fs::read(&path).is_ok_and(|now| head.as_deref().is_some_and(|head| head.as_bytes() != now));
    if let Some(at) = listed.filter(|at| at + 1 < notes)
        && grew()
    {
        // A running log signed these while the history was read.
        (before, last, notes) = (None, head.clone(), at);
    }
    let mut findings = Vec::new();
    if head.is_none() {
        let text = "there is no checkpoint: nothing says what the log's end is; copy it from outside the host";
        findings.push(Finding::new(Fault::CheckpointMissing, text).file(&path));
    }
    if !history.is_there() && head.is_some() {
        let text = "the history of checkpoints is missing: copy it from a backup or from outside the host";
        findings.push(Finding::new(Fault::HistoryMissing, text).file(&layout.history()));
    }
    if let Some(head) = &head
        && notes > 0
    {
        // The writer appends to the history first, so a crash leaves the newest checkpoint one note behind.
        match listed {
            Some(at) if at + 1 >= notes => {}
            Some(_) => {
                let text =
                    "an older checkpoint stands in the place of the newest: restore it from the history's last note";
                findings.push(Finding::new(Fault::CheckpointOld, text).file(&path));
            }
            None => findings.push(stranger(head, last.as_deref(), layout, trust)),
        }
    }
    let mut signed: Option<(Checkpoint, VerifyingKey)> = None;
    let mut chosen = None;
    for note in [before, last, head].into_iter().flatten() {
        match trust.open(&note, &path) {
            Ok(opened) if signed.as_ref().is_none_or(|(had, _)| had.size <= opened.0.size) => {
                (signed, chosen) = (Some(opened), Some(note));
            }
            Ok(_) => {}
            Err(finding) if findings.iter().all(|had| had.fault != finding.fault) => findings.push(*finding),
            Err(_) => {}
        }
    }
    Ok(Newest { note: chosen, signed, findings, notes })
}

/// A checkpoint that the history does not have.
fn stranger(head: &str, last: Option<&str>, layout: &Layout, trust: &Trust) -> Finding {
    let path = layout.checkpoint();
    let newest = match trust.open(head, &path) {
        Err(finding) => return *finding,
        Ok((checkpoint, _)) => checkpoint,
    };
    let older = last.and_then(|last| trust.open(last, &path).ok()).is_some_and(|(last, _)| last.size < newest.size);
    if older {
        let text = "the history of checkpoints lacks the newest one: it was cut, restore it from a copy";
        return Finding::new(Fault::HistoryMissing, text).file(&layout.history());
    }
    let text = "the checkpoint is signed and not part of the history: the key signed two histories";
    Finding::new(Fault::HistoryInconsistent, text).file(&path).range(newest.size, newest.size)
}
