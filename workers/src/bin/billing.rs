//! The billing worker.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::billing::{ApplyStripeEvent, ChangePlan, LinkCustomer};

fn main() -> ExitCode {
    millrace_workers::run_configured(millrace::builtin(), "billing", |config| {
        handlers![ApplyStripeEvent { fees: config.billing.fee.clone() }, ChangePlan, LinkCustomer]
    })
}
