//! The worker for tenants' lives.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::tenants::{AuditRefusal, CloseTenant, CreateTenant, ResumeTenant, SuspendTenant};

fn main() -> ExitCode {
    let handlers = handlers![CreateTenant, SuspendTenant, ResumeTenant, CloseTenant, AuditRefusal];
    millrace_workers::run(millrace::builtin(), "tenants", handlers)
}
