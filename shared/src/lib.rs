//! The shared half of Millrace: what every process agrees on, and the road of a message through a worker.
//!
//! Adopters start from [`builtin`], add their own resources, workers and commands, and hand the
//! [`contract::Contract`] to `millrace_ingress::run`, `millrace_workers::run` and `millrace_cli::run`.

pub mod amqp;
pub mod auditlog;
pub mod config;
pub mod contract;
pub mod db;
pub mod lifecycle;
pub mod pipeline;
pub mod retry;
pub mod telemetry;

use contract::payloads::StripeEvent;
use contract::{Contract, Provider, RoleTable};

/// The contract of Millrace itself.
pub fn builtin() -> Contract {
    let resources = ["project", "settings", "member", "billing", "audit_log", "compliance"];
    resources
        .into_iter()
        .fold(Contract::default(), |contract, name| contract.resource(name, RoleTable::default()))
        .roles(RoleTable::builtin())
        .worker("billing")
        .command::<StripeEvent>()
        .source::<StripeEvent>(Provider::Stripe)
}
