//! The bodies Millrace itself knows, one file an area.

mod stripe;

pub use stripe::{InvoiceChange, StripeChange, StripeEvent, StripeHead, SubscriptionChange, SubscriptionRank};
