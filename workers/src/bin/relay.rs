//! The relay.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_workers::run_relay(millrace::builtin())
}
