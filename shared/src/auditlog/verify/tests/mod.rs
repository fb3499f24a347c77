//! Attacks on a real log, each with the fault and the place that a verification has to name.
//!
//! `MILLRACE_AUDIT_LINES=1000000 cargo test --release -p millrace --lib verify::tests::attacks -- --nocapture
//! --test-threads=1` runs them on a log of that size and prints the table.

mod attacks;
mod exports;
mod independent;
mod keys;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

use super::super::layout::Layout;
use super::super::line::{Fields, Position, splice};
use super::super::note::SigningKey;
use super::super::segments::{Lines, Segment, segments};
use super::super::tile::tests::store;
use super::super::tree::leaf;
use super::super::{AuditLog, Entry, PruneRecord, Settings};
use super::*;
use crate::contract::{AuditEvent, Timestamp};

const NAME: &str = "test.example/audit";
const TENANTS: u64 = 7;

/// A log that was written by the writer, and an older copy of it.
struct Bed {
    folder: TempDir,
    key: SigningKey,
    lines: u64,
    /// How long the last verification took.
    took: Cell<Duration>,
}

fn size() -> u64 {
    std::env::var("MILLRACE_AUDIT_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

impl Bed {
    fn new(lines: u64) -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(NAME).unwrap());
        let bed = Self { folder, key, lines, took: Cell::default() };
        bed.write(0..lines / 2);
        copy(&bed.log(), &bed.old());
        bed.write(lines / 2..lines);
        bed
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn old(&self) -> PathBuf {
        self.folder.path().join("old")
    }

    fn old_checkpoint(&self) -> String {
        std::fs::read_to_string(Layout::new(self.old()).checkpoint()).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            checkpoint_every: Duration::from_millis(2),
            ..Settings::new(NAME.to_owned(), self.key.clone(), self.lines * 400 / 16, Duration::from_secs(86_400))
        }
    }

    fn write(&self, range: std::ops::Range<u64>) {
        let entries: Vec<Entry> = range.map(entry).collect();
        self.append(&entries);
    }

    fn append(&self, entries: &[Entry]) {
        let mut log = AuditLog::open(&self.log(), self.settings()).unwrap();
        for batch in entries.chunks(512) {
            log.append(batch).unwrap();
        }
        log.close().unwrap();
    }

    /// A copy to do harm to.
    fn copy(&self) -> (TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.log(), folder.path());
        let layout = Layout::new(folder.path());
        (folder, layout)
    }

    /// The keys from outside, as an auditor has them.
    fn policy(&self) -> Policy {
        Policy::parse(&format!("log {}\n", self.key.verifying())).unwrap()
    }

    fn verify(&self, path: &Path, since: Option<String>) -> Report {
        self.verify_as(path, self.policy(), since)
    }

    fn verify_as(&self, path: &Path, policy: Policy, since: Option<String>) -> Report {
        let began = Instant::now();
        let report = verify(path, &Options { policy, since }, &mut |_, _| {}).unwrap();
        self.took.set(began.elapsed());
        report
    }
}

fn event(number: u64) -> AuditEvent {
    let id = Uuid::from_u128(u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    AuditEvent {
        timestamp: Timestamp::new(
            Timestamp::from_unix(1_760_000_000).unwrap().moment() + Duration::from_millis(number),
        )
        .to_string(),
        org_id: format!("org_{}", number % TENANTS),
        actor_id: "webhook:stripe".into(),
        action: "projects.create".into(),
        resource_type: "project".into(),
        resource_id: format!("p{number}"),
        metadata: serde_json::Map::new(),
        event_id: id,
        outcome: "applied".into(),
        policy_version: "0123456789abcdef".into(),
    }
}

fn entry(number: u64) -> Entry {
    Entry::read(event(number).render().unwrap()).unwrap()
}

/// Copies a folder; files are linked, and whoever changes one writes a new one.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if let Some(name) = entry.file_name().to_str()
            && (name.ends_with(".jsonl") || name.ends_with(".log") || name == "lock")
        {
            // The writer appends to these.
            std::fs::copy(entry.path(), target).unwrap();
        } else {
            std::fs::hard_link(entry.path(), target).unwrap();
        }
    }
}

/// Replaces a file that may be shared with the log it was copied from.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn read_lines(segment: &Segment) -> Vec<Vec<u8>> {
    let mut lines = Lines::open(segment).unwrap();
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        all.push(line.bytes().to_vec());
    }
    all
}

fn write_lines(segment: &Segment, lines: &[Vec<u8>]) {
    let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let bytes = if segment.compressed { zstd::encode_all(text.as_slice(), 1).unwrap() } else { text };
    replace(&segment.path, &bytes);
}

/// Changes the lines of one segment.
fn change(layout: &Layout, at: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Segment {
    let segment = segments(layout).unwrap().remove(at);
    let mut lines = read_lines(&segment);
    change(&mut lines);
    write_lines(&segment, &lines);
    segment
}

/// Writes the whole log anew with other content: every number, every hash and every tile fits, and only the key is missing.
fn rewrite(layout: &Layout) {
    let mut heads = std::collections::HashMap::new();
    let mut leaves = Vec::new();
    for segment in segments(layout).unwrap() {
        let mut lines = read_lines(&segment);
        for line in &mut lines {
            let org = Fields::read(line).unwrap().org_id.to_owned();
            let text = String::from_utf8(line.clone()).unwrap().replace("projects.create", "projects.delete");
            let bare = format!("{}}}", &text[..text.find(r#","tenant_seq":"#).unwrap()]);
            let head = heads.entry(org).or_insert(Position::NONE);
            let position = Position { tenant_seq: head.tenant_seq + 1, ..*head };
            line.clear();
            splice(bare.as_bytes(), &position, line);
            *head = Position { tenant_seq: position.tenant_seq, prev_hash: leaf(line) };
            leaves.push(leaf(line));
        }
        write_lines(&segment, &lines);
    }
    std::fs::remove_dir_all(layout.folder().join("tile")).unwrap();
    store(layout, &leaves);
}
