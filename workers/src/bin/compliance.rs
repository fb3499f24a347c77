//! The worker for compliance.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::run_compliance(millrace::builtin())
}
