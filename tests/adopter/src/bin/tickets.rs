//! The worker for tickets.

use std::process::ExitCode;

use millrace::handlers;
use ticketing::{CreateTicket, OpenFromHelpdesk};

fn main() -> ExitCode {
    millrace_workers::run(ticketing::contract(), "tickets", handlers![CreateTicket, OpenFromHelpdesk])
}
