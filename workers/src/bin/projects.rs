//! The worker for projects.

use std::process::ExitCode;

use millrace::handlers;
use millrace_workers::projects::{ArchiveProject, CreateProject, DeleteProject, RenameProject};

fn main() -> ExitCode {
    let handlers = handlers![CreateProject, RenameProject, ArchiveProject, DeleteProject];
    millrace_workers::run(millrace::builtin(), "projects", handlers)
}
