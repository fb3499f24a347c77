//! Billing: mirrors a provider's subscriptions and invoices, and derives what a tenant may do.

mod access;
mod change_plan;
mod fees;
mod history;
mod invoices;
mod link_customer;
mod refunds;
mod stripe_events;
mod subscriptions;

pub use access::{Access, Standing, Status};
pub use change_plan::ChangePlan;
pub use link_customer::LinkCustomer;
pub use stripe_events::ApplyStripeEvent;
