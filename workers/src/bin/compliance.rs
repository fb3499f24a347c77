//! The worker for compliance.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::compliance::{CancelErasure, EraseOrg, ExecuteErasure, PlanErasure};

fn main() -> ExitCode {
    millrace_workers::run_configured(millrace::builtin(), "compliance", |config| {
        let cooling_off = config.compliance.erasure_cooling_off;
        Ok(handlers![PlanErasure { cooling_off }, CancelErasure, ExecuteErasure, EraseOrg])
    })
}
