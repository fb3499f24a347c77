//! The audit worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::run_audit(millrace::builtin())
}
