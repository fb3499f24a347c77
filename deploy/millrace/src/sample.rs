//! Signed sample events in Stripe's shapes, made offline.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

/// Which side of `2025-03-31.basil` an event's shape is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Before: `invoice.subscription`, `subscription.current_period_end`.
    Old,
    /// From basil on: `invoice.parent`, `items.data[].current_period_end`.
    Basil,
}

/// What a sample event says.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Event id.
    pub id: String,
    /// Event type.
    pub event_type: String,
    /// Customer.
    pub customer: String,
    /// Subscription.
    pub subscription: String,
    /// Invoice, for `invoice.*`.
    pub invoice: String,
    /// Status, for `customer.subscription.*`.
    pub status: String,
    /// Unix seconds of the event.
    pub created: i64,
    /// Connected account.
    pub account: Option<String>,
    /// Live or test mode.
    pub livemode: bool,
    /// Old or new shape.
    pub shape: Shape,
}

impl Sample {
    /// A paid invoice of a customer, in test mode and today's shape, with ids of its own.
    pub fn paid_invoice(customer: &str, subscription: &str) -> Self {
        let unique = Uuid::now_v7().simple().to_string();
        Self {
            id: format!("evt_{unique}"),
            event_type: "invoice.payment_succeeded".to_owned(),
            customer: customer.to_owned(),
            subscription: subscription.to_owned(),
            invoice: format!("in_{unique}"),
            status: "active".to_owned(),
            created: OffsetDateTime::now_utc().unix_timestamp(),
            account: None,
            livemode: false,
            shape: Shape::Basil,
        }
    }

    /// The body as Stripe would send it.
    pub fn body(&self) -> Vec<u8> {
        let object = match self.event_type.split('.').next() {
            Some("invoice") => self.invoice(),
            Some("customer") => self.subscription(),
            _ => json!({ "id": self.subscription, "customer": self.customer }),
        };
        let mut event = json!({
            "id": self.id, "object": "event", "api_version": "2025-08-27.basil", "type": self.event_type,
            "created": self.created, "livemode": self.livemode, "pending_webhooks": 1,
            "data": { "object": object },
        });
        if let Some(account) = &self.account {
            event["account"] = json!(account);
        }
        event.to_string().into_bytes()
    }

    fn invoice(&self) -> Value {
        let paid = self.event_type != "invoice.payment_failed";
        let mut object = json!({
            "id": self.invoice, "object": "invoice", "customer": self.customer, "currency": "eur",
            "amount_due": 2900, "amount_paid": if paid { 2900 } else { 0 },
            "status": if paid { "paid" } else { "open" },
        });
        match self.shape {
            Shape::Old => object["subscription"] = json!(self.subscription),
            Shape::Basil => {
                object["parent"] = json!({
                    "type": "subscription_details", "subscription_details": { "subscription": self.subscription },
                });
            }
        }
        object
    }

    fn subscription(&self) -> Value {
        let end = self.created + 30 * 24 * 3_600;
        let mut item = json!({ "id": "si_1", "price": { "id": "price_pro" } });
        let mut object = json!({
            "id": self.subscription, "object": "subscription", "customer": self.customer, "status": self.status,
        });
        match self.shape {
            Shape::Old => object["current_period_end"] = json!(end),
            Shape::Basil => item["current_period_end"] = json!(end),
        }
        object["items"] = json!({ "object": "list", "data": [item] });
        object
    }
}

/// `Stripe-Signature` over `t.body`; the key is the whole `whsec_…` text.
///
/// # Panics
/// Never: HMAC takes keys of every length.
#[expect(clippy::expect_used, reason = "HMAC accepts keys of every length")]
pub fn signature(secret: &str, time: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC accepts every key");
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes()))
}
