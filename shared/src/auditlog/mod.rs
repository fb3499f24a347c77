//! The audit log's files. No database, no broker: what stands here can be read without a running deployment.

mod log;
mod stored;
mod tail;

pub use log::{AuditLog, Entry, LogFault};
pub use stored::StoredLine;
pub use tail::{Place, Placed, Tail, TailFault, covered};
