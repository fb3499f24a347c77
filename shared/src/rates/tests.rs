//! Buckets as a state machine under a clock that only the test moves.

use std::collections::HashMap;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn buckets(rate: u32) -> (Buckets<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Buckets::new(Quota::per_second(NonZeroU32::new(rate).unwrap()), clock.clone()), clock)
}

/// What happens to the buckets.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// One message of this sender.
    Take(u8),
    /// So much time goes by.
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Take),
        1 => (1u64..1_500).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => (1u64..50_000).prop_map(|us| Step::Pass(Duration::from_micros(us))),
    ]
}

/// A bucket as one would draw it: tokens that come back with time, in billionths. It starts full.
struct Model {
    rate: u128,
    tokens: HashMap<u8, u128>,
}

impl Model {
    const TOKEN: u128 = 1_000_000_000;

    fn tokens(&mut self, sender: u8) -> &mut u128 {
        self.tokens.entry(sender).or_insert(self.rate * Self::TOKEN)
    }

    fn pass(&mut self, time: Duration) {
        let come = time.as_nanos() * self.rate;
        for tokens in self.tokens.values_mut() {
            *tokens = (*tokens + come).min(self.rate * Self::TOKEN);
        }
    }
}

proptest! {
    /// Rates whose period is a whole number of nanoseconds, so that the model rounds nowhere.
    #[test]
    fn every_bucket_does_what_its_model_does(
        rate in prop::sample::select(vec![1u32, 2, 5, 8, 50, 200]),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let (buckets, clock) = buckets(rate);
        let lanes = SoftRate::of(buckets);
        let mut model = Model { rate: rate.into(), tokens: HashMap::new() };
        for step in steps {
            match step {
                Step::Pass(time) => {
                    clock.advance(time);
                    model.pass(time);
                }
                Step::Take(sender) => {
                    let tokens = model.tokens(sender);
                    let has_one = *tokens >= Model::TOKEN;
                    *tokens -= if has_one { Model::TOKEN } else { 0 };
                    prop_assert_eq!(lanes.lane(&sender), if has_one { Lane::Main } else { Lane::Overflow });
                }
            }
        }
    }

    /// Whatever the rate and however it is spread: no more than the burst and what came since, in any stretch of time.
    #[test]
    fn no_stretch_of_time_lets_through_more_than_its_burst_and_what_came_since(
        rate in 1u32..2_000,
        pauses in prop::collection::vec(0u64..20_000_000, 1..600),
    ) {
        let (buckets, clock) = buckets(rate);
        let mut now = Duration::ZERO;
        let mut passed = Vec::new();
        for pause in pauses {
            let pause = Duration::from_nanos(pause);
            clock.advance(pause);
            now += pause;
            if buckets.take(&"sender").is_ok() {
                passed.push(now);
            }
        }
        for (first, since) in passed.iter().enumerate() {
            for (last, until) in passed.iter().enumerate().skip(first) {
                // A period is cut to whole nanoseconds, so tokens come a little faster than the rate says.
                let period = u128::from(1_000_000_000 / rate);
                let allowed = u128::from(rate) + (*until - *since).as_nanos() / period;
                prop_assert!((last - first + 1) as u128 <= allowed, "{} in {:?}", last - first + 1, *until - *since);
            }
        }
    }
}

#[test]
fn an_empty_bucket_says_when_to_come_back_and_is_full_after_a_second() {
    let (buckets, clock) = buckets(4);
    let take = |times: usize| (0..times).filter(|_| buckets.take(&"acme").is_ok()).count();
    assert_eq!(take(10), 4);
    let wait = buckets.take(&"acme").unwrap_err();
    assert_eq!(wait, Duration::from_millis(250));
    clock.advance(wait);
    assert_eq!(take(10), 1);
    clock.advance(SECOND);
    assert_eq!(take(10), 4);
}

#[test]
fn a_million_names_take_no_more_room_than_the_bound_and_nobody_who_has_a_bucket_loses_it() {
    let (buckets, clock) = buckets(1);
    assert_eq!(buckets.take(&"acme"), Ok(()));
    let through = (0..1_000_000).filter(|name| buckets.take(name).is_ok()).count();
    assert_eq!(buckets.len(), MOST_BUCKETS);
    // The crowd outside has one bucket.
    assert_eq!(through, MOST_BUCKETS - 1 + 1);
    assert!(buckets.take(&"acme").is_err(), "the flood has emptied its memory of a bucket");
    clock.advance(3 * SECOND);
    assert_eq!(buckets.take(&"globex"), Ok(()));
    assert_eq!(buckets.len(), 1, "full buckets say nothing and are forgotten when room is needed");
    assert!(buckets.take(&"globex").is_err());
}

#[test]
fn a_table_kept_full_is_not_swept_for_every_message() {
    let (buckets, clock) = buckets(1);
    for name in 0..MOST_BUCKETS {
        assert_eq!(buckets.take(&name), Ok(()));
    }
    // This sweep finds nothing; the next must wait for what can become full in the meantime.
    assert_eq!(buckets.take(&"first of the crowd"), Ok(()));
    let next = *locked(&buckets.next_sweep);
    clock.advance(SECOND / 100);
    assert!(buckets.take(&"second of the crowd").is_err());
    assert_eq!(*locked(&buckets.next_sweep), next);
    clock.advance(3 * SECOND);
    assert_eq!(buckets.take(&"third, with room of its own"), Ok(()));
    assert!(*locked(&buckets.next_sweep) > next);
    assert_eq!(buckets.len(), 1);
}

#[test]
fn without_a_rate_everything_stays_in_main() {
    let lanes = SoftRate::new(None);
    assert!((0..10_000).all(|_| lanes.lane(&"acme") == Lane::Main));
}
