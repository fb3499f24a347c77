//! `[billing]`: the specification's billing section.

use super::Reader;

/// How often and how patiently a failed message is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Executions before a message is dead.
    pub max_attempts: u32,
    /// Growth of the delay from one attempt to the next.
    pub backoff_multiplier: u32,
}

/// Which provider bills, and where its webhooks arrive.
#[derive(Debug, Clone)]
pub struct BillingConfig {
    /// Path of the source named like `provider`, beside `/api/webhooks/<name>`.
    pub webhook_endpoint: String,
    /// Name of the source that serves `webhook_endpoint`.
    pub provider: String,
    /// Retries.
    pub retry: RetryConfig,
}

impl BillingConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let webhook_endpoint = s.text("webhook_endpoint", Some("/api/billing/webhooks"));
        if !webhook_endpoint.starts_with("/api/") {
            s.mistake("webhook_endpoint", "must begin with /api/");
        }
        let retry = s.section("retry_policy", |s| RetryConfig {
            max_attempts: u32::try_from(s.number("max_attempts", 5, 1..=20)).unwrap_or(5),
            backoff_multiplier: u32::try_from(s.number("backoff_multiplier", 2, 1..=10)).unwrap_or(2),
        });
        Self { webhook_endpoint, provider: s.text("provider", Some("stripe")), retry }
    }
}
