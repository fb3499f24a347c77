//! An audit log of the test's own making, as the writer leaves it on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a log. What is added is covered by its checkpoint at once.
pub struct AuditCopy {
    folder: TempDir,
    lines: Vec<Value>,
    /// First lines of the files.
    files: Vec<usize>,
    last: BTreeMap<String, u64>,
}

impl Default for AuditCopy {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("seg")).expect("a folder");
        Self { folder, lines: Vec::new(), files: vec![0], last: BTreeMap::new() }
    }
}

impl AuditCopy {
    /// A log of these lines, in one file.
    pub fn of(lines: impl IntoIterator<Item = Value>) -> Self {
        let mut copy = Self::default();
        copy.add(lines);
        copy
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds lines, each with the next number of its tenant.
    ///
    /// # Panics
    /// When a line is no object with an `org_id`.
    pub fn add(&mut self, lines: impl IntoIterator<Item = Value>) {
        for mut line in lines {
            let number = self.last.entry(line["org_id"].as_str().expect("a tenant").to_owned()).or_default();
            *number += 1;
            line["tenant_seq"] = (*number).into();
            line["prev_hash"] = "0".repeat(64).into();
            self.lines.push(line);
        }
        self.write();
    }

    /// Closes the file at hand; what is added later stands in the next.
    pub fn rotate(&mut self) {
        self.files.push(self.lines.len());
    }

    /// The bytes of a file of the log.
    ///
    /// # Panics
    /// When there is none.
    pub fn file(&self, first: u64) -> Vec<u8> {
        std::fs::read(self.segment(first)).expect("a file")
    }

    /// Drops the oldest file, as retention does.
    ///
    /// # Panics
    /// When there is none.
    pub fn prune(&mut self) {
        let oldest = self.files.remove(0) as u64;
        std::fs::remove_file(self.segment(oldest)).expect("a file");
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.path().join(format!("seg/{first:020}.jsonl"))
    }

    fn write(&self) {
        for (place, first) in self.files.iter().enumerate() {
            let end = self.files.get(place + 1).copied().unwrap_or(self.lines.len());
            let text: String = self.lines[*first..end].iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(self.segment(*first as u64), text).expect("a file");
        }
        let checkpoint = format!("test\n{}\nAAAA\n\n— test AAAA\n", self.lines.len());
        std::fs::write(self.path().join("checkpoint"), checkpoint).expect("a checkpoint");
    }
}
