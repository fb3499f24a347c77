//! Projects of a tenant. One handler a file.

mod archive;
mod create;
mod delete;
mod rename;
mod row;

pub use archive::ArchiveProject;
pub use create::CreateProject;
pub use delete::DeleteProject;
pub use rename::RenameProject;
