//! How fast tenants may send commands and sources webhooks, and how often one principal's refusals are audited.

use std::num::NonZeroU32;
use std::time::Duration;

use millrace::config::LimitsConfig;
use millrace::contract::{Lane, TenantId};
use millrace::rates::{Buckets, SoftRate};

use crate::webhooks::Sender;

/// Refusals of one principal that are audited at once; one more comes every [`REFUSAL_PERIOD`].
const REFUSAL_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const REFUSAL_PERIOD: Duration = Duration::from_secs(10);

/// A tenant or a source beyond its hard rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant sends faster than limits.hard_rate")]
pub(crate) struct TooFast {
    /// Whole seconds after which another is taken, at least one.
    pub(crate) retry_after: u64,
}

/// All buckets of this process.
#[derive(Debug)]
pub(crate) struct Rates {
    tenants: SoftRate,
    tenants_hard: Option<Buckets>,
    senders: SoftRate,
    sources_hard: Option<Buckets>,
    refusals: Buckets,
}

impl Rates {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        Self {
            tenants: SoftRate::new(limits.soft_rate),
            tenants_hard: limits.hard_rate.map(Buckets::per_second),
            senders: SoftRate::new(limits.webhook_soft_rate),
            sources_hard: limits.source_hard_rate.map(Buckets::per_second),
            refusals: Buckets::one_every(REFUSAL_PERIOD, REFUSAL_BURST),
        }
    }

    /// Takes one command of a tenant, and says for which lane.
    pub(crate) fn command(&self, org: &TenantId) -> Result<Lane, TooFast> {
        within(self.tenants_hard.as_ref(), org)?;
        Ok(self.tenants.lane(org))
    }

    /// Takes one verified webhook, and says for which lane. Nobody's flood refuses another's event: only a source as a
    /// whole has a hard rate, and only where it is configured.
    pub(crate) fn webhook(&self, sender: Sender<'_>) -> Result<Lane, TooFast> {
        within(self.sources_hard.as_ref(), sender.source)?;
        Ok(self.senders.lane(&sender))
    }

    /// Is this refusal of a principal to be audited? Beyond its rate it is only counted.
    pub(crate) fn audits(&self, org: &TenantId, actor: &str) -> bool {
        self.refusals.take(&(org, actor)).is_ok()
    }
}

fn within(hard: Option<&Buckets>, sender: &(impl std::hash::Hash + ?Sized)) -> Result<(), TooFast> {
    match hard.map(|buckets| buckets.take(&sender)) {
        Some(Err(wait)) => Err(TooFast { retry_after: wait.as_secs() + 1 }),
        Some(Ok(())) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(soft: u32, hard: u32) -> Rates {
        let (soft, hard) = (NonZeroU32::new(soft), NonZeroU32::new(hard));
        let limits = LimitsConfig { soft_rate: soft, hard_rate: hard, webhook_soft_rate: soft, source_hard_rate: hard };
        Rates::new(&limits)
    }

    #[test]
    fn a_tenant_overflows_and_is_then_refused_while_another_is_not() {
        let (rates, acme, globex) = (rates(2, 4), TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let lanes: Vec<_> = (0..5).map(|_| rates.command(&acme)).collect();
        assert_eq!(lanes[..4], [Ok(Lane::Main), Ok(Lane::Main), Ok(Lane::Overflow), Ok(Lane::Overflow)]);
        assert!(lanes[4].is_err_and(|too_fast| too_fast.retry_after >= 1));
        assert_eq!(rates.command(&globex), Ok(Lane::Main));
    }

    #[test]
    fn a_customer_overflows_alone_and_only_its_source_as_a_whole_is_refused() {
        let sender = |source, id| Sender { source, id };
        let edge = rates(2, 6);
        let flood: Vec<_> = (0..4).map(|_| edge.webhook(sender("stripe", Some("cus_1")))).collect();
        assert_eq!(flood, [Ok(Lane::Main), Ok(Lane::Main), Ok(Lane::Overflow), Ok(Lane::Overflow)]);
        assert_eq!(edge.webhook(sender("stripe", Some("cus_2"))), Ok(Lane::Main));
        assert_eq!(edge.webhook(sender("stripe", None)), Ok(Lane::Main));
        assert!(edge.webhook(sender("stripe", Some("cus_3"))).is_err());
        assert_eq!(edge.webhook(sender("github", Some("cus_1"))), Ok(Lane::Main));
        let unbounded = rates(1, 0);
        assert!((0..10_000).all(|_| unbounded.webhook(sender("stripe", Some("cus_1"))).is_ok()));
    }

    #[test]
    fn a_flood_of_refusals_is_audited_five_times() {
        let (rates, acme) = (rates(1, 1), TenantId::parse("acme").unwrap());
        assert_eq!((0..100).filter(|_| rates.audits(&acme, "user:mallory")).count(), 5);
        assert!(rates.audits(&acme, "user:alice"));
    }
}
