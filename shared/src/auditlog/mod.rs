//! The audit log's files. No database, no broker: what stands here can be read without a running deployment.

mod log;

pub use log::{AuditLog, Entry, LogFault};
