//! What an operator shows to a controller, an auditor or an authority: each artefact is the output of a command, made from
//! the configuration, the catalogue and the audit log at the moment it is asked for.

mod access_review;
mod breach;
mod catalogue;
mod data_flow;
mod evidence;
mod keys;
pub(crate) mod log_lines;
mod places;
mod ropa;

pub(crate) use access_review::AccessReview;
pub(crate) use breach::Breach;
pub(crate) use data_flow::DataFlow;
pub(crate) use evidence::Evidence;
pub(crate) use keys::Keys;
pub(crate) use ropa::Ropa;

pub use data_flow::data_flow;
pub use places::retention_schedule;
