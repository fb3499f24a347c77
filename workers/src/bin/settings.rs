//! The worker for settings.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::settings::UpdateSettings;

fn main() -> ExitCode {
    millrace_workers::run(millrace::builtin(), "settings", handlers![UpdateSettings])
}
