//! Settings of a tenant. One handler a file.

mod update;

pub use update::UpdateSettings;
