//! Erasing a person or a whole tenant: planned, cooled off, executed; and exports. One handler a file.

mod cancel;
mod certificate;
mod erase;
mod erase_org;
mod execute;
mod export;
mod holds;
mod obstacle;
mod open_erasure;

use std::time::Duration;

pub use cancel::CancelErasure;
pub use erase::PlanErasure;
pub use erase_org::EraseOrg;
pub use execute::ExecuteErasure;
pub use export::{ExpireExport, NoteExpired, NoteWritten, RequestExport, WritePage};

/// Kind of target in audit lines and operations.
const ERASURE: &str = "erasure";
/// How long planning or executing an erasure may take: it looks into every table that names persons.
const ERASING: Duration = Duration::from_secs(60);
/// How long an erasure waits for what holds it up. That is no failure of its own, so practically for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
