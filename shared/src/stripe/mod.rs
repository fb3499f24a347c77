//! Stripe's API, as far as it is asked: one subscription, all of them, and the events of the last 30 days.

mod client;
mod fault;

pub use client::{EventsAfter, Page, StripeClient, SubscriptionsAfter};
pub use fault::StripeFault;

/// The version whose shapes are asked for, whatever the account's own is.
pub const API_VERSION: &str = "2025-08-27.basil";
