//! A tenant's life. One handler a file.

mod close;
mod create;
mod refused;
mod state;
mod suspend;

pub use close::CloseTenant;
pub use create::CreateTenant;
pub use refused::AuditRefusal;
pub use suspend::{ResumeTenant, SuspendTenant};

/// Kind of target in audit lines and operations.
const TENANT: &str = "tenant";
