//! The operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_cli::run(millrace::builtin())
}
