//! The worker for members.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::members::{RemoveMember, SetMemberRole};

fn main() -> ExitCode {
    millrace_workers::run(millrace::builtin(), "members", handlers![SetMemberRole, RemoveMember])
}
