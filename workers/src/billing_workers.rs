//! The workers of billing, which need more of the configuration than others: thresholds, and the way to the provider.

use std::process::ExitCode;

use millrace::contract::Contract;
use millrace::handlers;
use millrace::pipeline::Handlers;
use millrace::stripe::StripeClient;

use crate::billing::{
    ApplyRefetched, ApplyStripeEvent, ChangePlan, ChargeFee, LinkCustomer, OverrideAccess, Refetch, ReviewAccess,
    Thresholds,
};
use crate::worker::run_configured;

/// Runs the worker that mirrors the provider and decides access.
pub fn run_billing(contract: Contract) -> ExitCode {
    run_configured(contract, "billing", |config| {
        let thresholds = Thresholds::new(&config.billing.access);
        Ok(handlers![
            ApplyStripeEvent::new(thresholds.clone(), config.billing.fee.clone()),
            ApplyRefetched::new(thresholds.clone()),
            ReviewAccess::new(thresholds.clone()),
            OverrideAccess::new(thresholds),
            ChangePlan,
            ChargeFee::new(config.billing.fee.clone()),
            LinkCustomer,
        ])
    })
}

/// Runs the worker that asks the provider. It alone uses the provider's key.
pub fn run_provider(contract: Contract) -> ExitCode {
    run_configured(contract, "provider", |config| {
        let client = StripeClient::new(&config.billing.api)?;
        Ok(Handlers::default().with_egress(Refetch::new(client)))
    })
}
