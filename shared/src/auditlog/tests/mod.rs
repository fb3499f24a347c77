//! The writer's files, from the outside: what is there after each thing that can happen.

mod ahead;
mod faults;
mod lines;
mod refusals;
mod segments;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

use super::layout::Layout;
use super::line::Fields;
use super::note::{Checkpoint, SigningKey, history, open_note};
use super::tree::{Hash, leaf, node};
use super::{AuditLog, Entry, LogFault, Settings};
use crate::contract::AuditEvent;

const NAME: &str = "test.example/audit";

/// A folder, and the key of its log.
struct Bed {
    folder: TempDir,
    key: SigningKey,
    segment_bytes: u64,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate(NAME).unwrap(), segment_bytes: 64 << 20 }
    }

    /// Segments of so many bytes.
    fn small(segment_bytes: u64) -> Self {
        Self { segment_bytes, ..Self::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn layout(&self) -> Layout {
        Layout::new(self.path())
    }

    fn settings(&self) -> Settings {
        let retention = Duration::from_secs(86_400);
        Settings {
            checkpoint_every: Duration::from_millis(5),
            ..Settings::new(NAME.to_owned(), self.key.clone(), self.segment_bytes, retention)
        }
    }

    fn try_open(&self) -> Result<AuditLog, LogFault> {
        AuditLog::open(self.path(), self.settings())
    }

    fn open(&self) -> AuditLog {
        self.try_open().unwrap()
    }

    fn first_segment(&self) -> PathBuf {
        self.layout().segment(0)
    }

    /// Every stored line, of raw and of compressed segments.
    fn lines(&self) -> Vec<Vec<u8>> {
        let names = std::fs::read_dir(self.layout().segments_dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        let mut lines = Vec::new();
        for path in names {
            let bytes = std::fs::read(&path).unwrap();
            let bytes = match path.extension().and_then(|kind| kind.to_str()) {
                // The raw file goes a moment after the compressed one has come.
                Some("zst") if !path.with_extension("").exists() => zstd::decode_all(bytes.as_slice()).unwrap(),
                Some("jsonl") => bytes,
                _ => continue,
            };
            lines.extend(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        }
        lines
    }

    /// Every checkpoint of the history, oldest first.
    fn checkpoints(&self) -> Vec<Checkpoint> {
        let text = std::fs::read_to_string(self.layout().history()).unwrap();
        history(&text).map(|note| open_note(note, &[self.key.verifying()]).unwrap()).collect()
    }

    /// Holds the whole log to what it promises: a root for every checkpoint, sequences without a gap, no id twice.
    fn check(&self) {
        let lines = self.lines();
        let leaves: Vec<Hash> = lines.iter().map(|line| leaf(line)).collect();
        for checkpoint in self.checkpoints() {
            let covered = &leaves[..usize::try_from(checkpoint.size).unwrap()];
            assert_eq!(checkpoint.root, root(covered), "at {}", checkpoint.size);
        }
        let (mut heads, mut ids) = (std::collections::HashMap::new(), std::collections::HashSet::new());
        for line in &lines {
            let fields = Fields::read(line).expect("a line");
            let position = fields.position.expect("a position");
            let head = heads.entry(fields.org_id.to_owned()).or_insert((0, Hash([0; 32])));
            assert_eq!((position.tenant_seq, position.prev_hash), (head.0 + 1, head.1), "{}", fields.org_id);
            *head = (position.tenant_seq, leaf(line));
            assert!(ids.insert(fields.event_id), "{} twice", fields.event_id);
        }
    }
}

/// RFC 6962, section 2.1, word by word.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => super::tree::empty_root(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node(&root(&leaves[..split]), &root(&leaves[split..]))
        }
    }
}

fn event(id: u128, org: &str, timestamp: &str) -> AuditEvent {
    AuditEvent {
        timestamp: timestamp.into(),
        org_id: org.into(),
        actor_id: "webhook:stripe".into(),
        action: "a".into(),
        resource_type: "r".into(),
        resource_id: "1".into(),
        metadata: serde_json::Map::new(),
        event_id: Uuid::from_u128(id),
        outcome: "applied".into(),
        policy_version: "0".into(),
    }
}

fn entry(id: u128, org: &str, day: u32) -> Entry {
    let event = event(id, org, &format!("2026-01-{day:02}T00:00:00.000000Z"));
    Entry::read(event.render().unwrap()).unwrap()
}

/// Waits for what another thread does.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
