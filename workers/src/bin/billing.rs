//! The billing worker.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::billing::{ApplyStripeEvent, ChangePlan, LinkCustomer};

fn main() -> ExitCode {
    millrace_workers::run(millrace::builtin(), "billing", handlers![ApplyStripeEvent, ChangePlan, LinkCustomer])
}
