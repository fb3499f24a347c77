//! The lines of an audit log, whichever segment they stand in and whether it is compressed by now.

use std::path::{Path, PathBuf};

use millrace::auditlog::layout::Layout;
use millrace::auditlog::segments::{Lines, segments};

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
