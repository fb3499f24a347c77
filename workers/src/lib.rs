//! The workers of Millrace: handlers by domain, and the processes that run them.

mod audit;
mod audit_worker;
pub mod billing;
mod billing_workers;
pub mod limits;
pub mod members;
pub mod projects;
mod relay;
pub mod settings;
pub mod tenants;
mod worker;

pub use audit_worker::run_audit;
pub use billing_workers::{run_billing, run_provider};
pub use relay::run_relay;
pub use worker::run;
