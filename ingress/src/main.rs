//! The HTTP edge of a deployment that adds nothing to Millrace's own contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_ingress::run(millrace::builtin())
}
