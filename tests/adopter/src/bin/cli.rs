//! The operator's command line, with this crate's contract and migrations.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_cli::App::new(ticketing::contract()).migrations(sqlx::migrate!()).run()
}
