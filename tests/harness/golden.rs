//! Golden files: what a matrix or a wire format was when somebody last looked at it.

use std::path::Path;

/// Variable that makes [`golden`] write instead of compare.
const BLESS: &str = "MILLRACE_BLESS";

/// Compares a text with a file of the repository, such as `tests/promises/golden/role_matrix.md`.
///
/// # Panics
/// When they differ; the message says how to accept the new text, which is then reviewed as a change.
pub fn golden(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&file, text).expect("a golden file");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b);
    let line = differs.map_or_else(String::new, |at| format!(" from line {}", at + 1));
    assert!(kept == text, "{path} differs{line}; run the test with {BLESS}=1 and review what changed:\n{text}");
}
