//! Erasing a person: planned, cooled off, executed; and exports. One handler a file.

mod cancel;
mod certificate;
mod erase;
mod execute;
mod export;
mod holds;

use std::time::Duration;

pub use cancel::CancelErasure;
pub use erase::PlanErasure;
pub use execute::ExecuteErasure;
pub use export::{ExpireExport, NoteExpired, NoteWritten, RequestExport, WritePage};

/// Kind of target in audit lines and operations.
const ERASURE: &str = "erasure";
/// How long planning or executing an erasure may take: it looks into every table that names persons.
const ERASING: Duration = Duration::from_secs(60);
