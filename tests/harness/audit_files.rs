//! The lines of an audit log, whichever segment they stand in and whether it is compressed by now.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use millrace::auditlog::layout::Layout;
use millrace::auditlog::line::Fields;
use millrace::auditlog::note::{Checkpoint, VerifyingKey, history, open_note};
use millrace::auditlog::segments::{Lines, segments};
use millrace::auditlog::tree::{Frontier, Hash, leaf};

use crate::{World, eventually};

/// Every whole line of the log in a folder. A last one without its line feed is not written yet.
///
/// # Panics
/// When a segment cannot be read.
pub fn audit_text(folder: &Path) -> String {
    let layout = Layout::new(folder);
    // A segment may be compressed, and its raw file gone, between the listing and the look.
    loop {
        if !layout.segments_dir().exists() {
            return String::new();
        }
        let mut text = Vec::new();
        let mut moved = false;
        for segment in segments(&layout).expect("segments") {
            let Ok(mut lines) = Lines::open(&segment) else {
                moved = true;
                break;
            };
            while let Some(line) = lines.next_line().expect("a segment") {
                text.extend_from_slice(line.bytes());
                text.push(b'\n');
            }
        }
        if !moved {
            return String::from_utf8(text).expect("lines in UTF-8");
        }
    }
}

impl World {
    /// The audit log's open segment: the names of segments rise.
    pub fn audit_file(&self) -> PathBuf {
        let names = std::fs::read_dir(self.audit_folder().join("seg")).into_iter().flatten();
        let names = names.map(|entry| entry.expect("an entry").path());
        let newest = names.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).max();
        newest.unwrap_or_else(|| self.audit_folder().join("seg/00000000000000000000.jsonl"))
    }

    /// The audit lines, parsed. A last one without its line feed is not written yet.
    ///
    /// # Panics
    /// When a line is no JSON.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        audit_text(&self.audit_folder()).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// How many audit lines of messages have this outcome; operators' own acts are not counted.
    pub fn lines_with(&self, outcome: &str) -> usize {
        let by_operator =
            |line: &serde_json::Value| line["actor_id"].as_str().is_some_and(|a| a.starts_with("operator:"));
        self.lines().iter().filter(|line| line["outcome"] == outcome && !by_operator(line)).count()
    }

    /// Waits for a number of lines with an outcome.
    pub async fn until_lines(&self, outcome: &str, wanted: usize) {
        eventually(&format!("{wanted} {outcome} lines"), async || (self.lines_with(outcome) >= wanted).then_some(()))
            .await;
        assert_eq!(self.lines_with(outcome), wanted, "more {outcome} lines than settlements");
    }
}

/// Holds a log to what it promises: every tenant's numbers without a gap and every previous hash right, no event twice, and
/// each checkpoint of the history the root of its lines. Returns how many lines the last one covers. The log may grow
/// meanwhile.
///
/// # Panics
/// When it does not hold.
pub fn audit_holds(folder: &Path) -> u64 {
    let layout = Layout::new(folder);
    let Ok(notes) = std::fs::read_to_string(layout.history()) else { return 0 };
    let vkeys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.vkeys()).expect("keys")).expect("a list of keys");
    let vkeys = vkeys.as_array().expect("a list").iter().map(|key| key["vkey"].as_str().expect("a key"));
    let keys: Vec<VerifyingKey> = vkeys.map(|key| VerifyingKey::parse(key).expect("a key")).collect();
    // The last one may be half written.
    let whole = notes.rfind("\n\n").map_or("", |end| &notes[..end + 2]);
    let mut checkpoints: Vec<Checkpoint> = history(whole).filter_map(|note| open_note(note, &keys).ok()).collect();
    assert!(checkpoints.is_sorted_by_key(|checkpoint| (checkpoint.size, checkpoint.time)), "history goes back");
    checkpoints.reverse();
    let (mut tree, mut heads, mut ids) = (Frontier::empty(), HashMap::new(), HashSet::new());
    let mut last = 0;
    let mut covers = |tree: &Frontier| {
        while let Some(checkpoint) = checkpoints.pop_if(|checkpoint| checkpoint.size == tree.size()) {
            assert_eq!(checkpoint.root, tree.root(), "the checkpoint of {} lines", tree.size());
            last = checkpoint.size;
        }
    };
    covers(&tree);
    for line in audit_text(folder).lines() {
        let fields = Fields::read(line.as_bytes()).unwrap_or_else(|| panic!("no line of ours: {line}"));
        let position = fields.position.expect("a position");
        let hash = leaf(line.as_bytes());
        let head = heads.insert(fields.org_id.to_owned(), (position.tenant_seq, hash)).unwrap_or((0, Hash::ZERO));
        assert_eq!((position.tenant_seq, position.prev_hash), (head.0 + 1, head.1), "{line}");
        assert!(ids.insert(fields.event_id), "doubled: {line}");
        tree.push(hash);
        covers(&tree);
    }
    assert!(checkpoints.is_empty(), "the log is shorter than its newest checkpoint");
    last
}
