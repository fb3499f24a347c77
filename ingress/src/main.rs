//! The HTTP edge of a deployment that adds nothing to Millrace's own contract.

use std::process::ExitCode;

/// A request allocates and frees some seventy small things; this one does it without giving memory back in between.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    millrace_ingress::run(millrace::builtin())
}
