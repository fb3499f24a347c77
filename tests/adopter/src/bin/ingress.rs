//! The edge: Millrace's own, for this crate's contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_ingress::run(ticketing::contract())
}
