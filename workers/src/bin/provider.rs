//! The worker that asks the billing provider.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::run_provider(millrace::builtin())
}
