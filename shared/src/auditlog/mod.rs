//! The audit log's files. No database, no broker: what stands here can be read without a running deployment.

pub mod layout;
mod log;
pub mod note;
pub mod segments;
pub mod tile;
pub mod tree;

pub use log::{AuditLog, Entry, LogFault};
