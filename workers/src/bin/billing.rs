//! The billing worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::run_billing(millrace::builtin())
}
