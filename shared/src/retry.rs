//! The one backoff policy: full jitter, `uniform(0, min(cap, base · multiplier^n))`.
//!
//! The `backoff` crate draws from `interval · (1 ± factor)`; with factor 1 and half of base and cap that is
//! exactly full jitter. The crate is used nowhere else (see `deny.toml`).

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// A schedule of delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySchedule {
    base: Duration,
    cap: Duration,
    multiplier: f64,
}

impl RetrySchedule {
    /// A failed message: 10 s doubling up to an hour. The multiplier is configuration.
    pub fn messages(multiplier: u32) -> Self {
        Self { base: Duration::from_secs(10), cap: Duration::from_secs(3_600), multiplier: f64::from(multiplier) }
    }

    /// A message whose tenant is not linked yet, or whose type this build does not know: no failure, so sooner.
    pub fn waits() -> Self {
        Self { base: Duration::from_secs(4), cap: Duration::from_secs(1_800), multiplier: 2.0 }
    }

    /// A broker or database that is away: soon, and without end.
    pub fn connections() -> Self {
        Self { base: Duration::from_millis(200), cap: Duration::from_secs(5), multiplier: 2.0 }
    }

    /// The delay before the next try, after `failed` tries.
    pub fn delay(self, failed: u32) -> Duration {
        let mut delays = self.delays();
        let mut delay = delays.next_delay();
        for _ in 0..failed.min(64) {
            delay = delays.next_delay();
        }
        delay
    }

    /// The delays one after the other, for a loop that counts by itself.
    pub fn delays(self) -> Delays {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.base / 2)
            .with_max_interval(self.cap / 2)
            .with_multiplier(self.multiplier)
            .with_randomization_factor(1.0)
            .with_max_elapsed_time(None)
            .build();
        Delays { backoff, cap: self.cap }
    }
}

/// An endless run of delays.
#[derive(Debug)]
pub struct Delays {
    backoff: backoff::ExponentialBackoff,
    cap: Duration,
}

impl Delays {
    /// The next delay; without a time limit the crate always has one, and the cap stands in should it not.
    pub fn next_delay(&mut self) -> Duration {
        self.backoff.next_backoff().unwrap_or(self.cap)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_bound(failed in 0_u32..80) {
            let bound = (10.0 * 2_f64.powi(failed.min(20) as i32)).min(3_600.0);
            prop_assert!(RetrySchedule::messages(2).delay(failed).as_secs_f64() <= bound + 0.001);
        }
    }

    #[test]
    fn delays_fill_their_range() {
        let longest = (0..200).map(|_| RetrySchedule::messages(2).delay(0)).max().unwrap();
        let shortest = (0..200).map(|_| RetrySchedule::messages(2).delay(0)).min().unwrap();
        assert!(longest > Duration::from_secs(7) && shortest < Duration::from_secs(3));
    }
}
