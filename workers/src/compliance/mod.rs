//! Erasing a person: planned, cooled off, executed. One handler a file.

mod cancel;
mod certificate;
mod erase;
mod execute;
mod holds;

pub use cancel::CancelErasure;
pub use erase::PlanErasure;
pub use execute::ExecuteErasure;

/// Kind of target in audit lines and operations.
const ERASURE: &str = "erasure";
