//! Billing: mirrors a provider's subscriptions and invoices, and derives what a tenant may do.

mod access;
mod change_plan;
mod charge_fee;
mod fees;
mod history;
mod invoices;
mod link_customer;
mod merge;
mod override_access;
mod refetch;
mod refetched;
mod refunds;
mod review_access;
mod stripe_events;
mod subscriptions;

pub use access::{Override, Standing, Status, Thresholds};
pub use change_plan::ChangePlan;
pub use charge_fee::ChargeFee;
pub use link_customer::LinkCustomer;
pub use override_access::OverrideAccess;
pub use refetch::Refetch;
pub use refetched::ApplyRefetched;
pub use review_access::ReviewAccess;
pub use stripe_events::ApplyStripeEvent;
