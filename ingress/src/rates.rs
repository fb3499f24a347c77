//! Token buckets: how fast one tenant may send commands, and how often one principal's refusals are audited.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use millrace::config::LimitsConfig;
use millrace::contract::{Lane, TenantId};

/// Refusals of one principal that are audited at once; one more comes every [`REFUSAL_PERIOD`].
const REFUSAL_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const REFUSAL_PERIOD: Duration = Duration::from_secs(10);
/// How often full buckets, which say nothing, are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// A tenant beyond its hard rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant sends faster than limits.hard_rate")]
pub(crate) struct TooFast {
    /// Whole seconds after which a command is taken again, at least one.
    pub(crate) retry_after: u64,
}

/// All buckets of this process, by tenant and by principal.
#[derive(Debug)]
pub(crate) struct Rates {
    soft: DefaultKeyedRateLimiter<TenantId>,
    hard: DefaultKeyedRateLimiter<TenantId>,
    refusals: DefaultKeyedRateLimiter<(TenantId, String)>,
    clock: DefaultClock,
}

impl Rates {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        let refusals = Quota::with_period(REFUSAL_PERIOD).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        Self {
            soft: RateLimiter::keyed(Quota::per_second(limits.soft_rate)),
            hard: RateLimiter::keyed(Quota::per_second(limits.hard_rate)),
            refusals: RateLimiter::keyed(refusals.allow_burst(REFUSAL_BURST)),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one command of a tenant, and says for which lane.
    pub(crate) fn lane(&self, org: &TenantId) -> Result<Lane, TooFast> {
        if let Err(full) = self.hard.check_key(org) {
            let wait = full.wait_time_from(self.clock.now());
            return Err(TooFast { retry_after: wait.as_secs() + 1 });
        }
        Ok(if self.soft.check_key(org).is_ok() { Lane::Main } else { Lane::Overflow })
    }

    /// Is this refusal of a principal to be audited? Beyond its rate it is only counted.
    pub(crate) fn audits(&self, org: &TenantId, actor: &str) -> bool {
        self.refusals.check_key(&(org.clone(), actor.to_owned())).is_ok()
    }

    /// Forgets idle tenants for as long as it is polled, so that memory follows those who send now.
    pub(crate) async fn forget_the_idle(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.soft.retain_recent();
            self.hard.retain_recent();
            self.refusals.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(soft: u32, hard: u32) -> Rates {
        let rate = |n| NonZeroU32::new(n).unwrap();
        Rates::new(&LimitsConfig { soft_rate: rate(soft), hard_rate: rate(hard) })
    }

    #[test]
    fn a_tenant_overflows_and_is_then_refused_while_another_is_not() {
        let (rates, acme, globex) = (rates(2, 4), TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let lanes: Vec<_> = (0..5).map(|_| rates.lane(&acme)).collect();
        assert_eq!(lanes[..4], [Ok(Lane::Main), Ok(Lane::Main), Ok(Lane::Overflow), Ok(Lane::Overflow)]);
        assert!(lanes[4].is_err_and(|too_fast| too_fast.retry_after >= 1));
        assert_eq!(rates.lane(&globex), Ok(Lane::Main));
    }

    #[test]
    fn a_flood_of_refusals_is_audited_five_times() {
        let (rates, acme) = (rates(1, 1), TenantId::parse("acme").unwrap());
        assert_eq!((0..100).filter(|_| rates.audits(&acme, "user:mallory")).count(), 5);
        assert!(rates.audits(&acme, "user:alice"));
    }
}
