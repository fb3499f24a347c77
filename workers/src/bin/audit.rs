//! The audit worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::audit::run_audit(millrace::builtin())
}
