//! The workers of Millrace: handlers by domain, and the processes that run them.

pub mod audit;
pub mod billing;
mod relay;
mod worker;

pub use relay::run_relay;
pub use worker::run;
