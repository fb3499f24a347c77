//! Billing: mirrors a provider's subscriptions and invoices, and derives what a tenant may do.

mod access;
mod history;
mod invoices;
mod stripe_events;
mod subscriptions;

pub use access::{Access, Standing, Status};
pub use stripe_events::ApplyStripeEvent;
