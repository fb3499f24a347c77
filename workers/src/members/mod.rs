//! Members of a tenant. One handler a file.

mod remove;
mod set_role;

pub use remove::RemoveMember;
pub use set_role::SetMemberRole;

/// Kind of target in audit lines and operations.
const MEMBER: &str = "member";
/// The metric that each member with a row uses one of.
const METRIC: &str = "members";
