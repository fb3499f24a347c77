//! The workers of Millrace: handlers by domain, and the processes that run them.

mod audit;
mod audit_worker;
pub mod billing;
mod billing_workers;
pub mod compliance;
mod compliance_worker;
pub mod limits;
pub mod members;
pub mod projects;
mod relay;
pub mod settings;
pub mod tenants;
mod worker;

pub use audit_worker::run_audit;
pub use billing_workers::{run_billing, run_provider};
pub use compliance_worker::run_compliance;
pub use relay::run_relay;
pub use worker::{CannotMake, run, run_configured};
