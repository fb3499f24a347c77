//! The life of a process: configuration, telemetry, signals, two-phase drain, health, exit code.

mod admin;
mod drain;
mod process;

pub use admin::{AdminFault, ReadyCheck, serve_admin};
pub use drain::Drain;
pub use process::{Booted, ProcessFault, announce, exit, run_process};
