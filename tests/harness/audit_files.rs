//! The lines of an audit log, whichever segment they stand in and whether it is compressed by now.

use std::path::Path;

use millrace::auditlog::layout::Layout;
use millrace::auditlog::segments::{Lines, segments};

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
