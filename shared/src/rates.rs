//! Token buckets: how fast each sender may go, at the edge and in the services' client.
//!
//! Every process counts for itself, in memory. A bucket is a number under the hash of its key, so a sender's name takes
//! no room whatever its length, and there are never more than [`MOST_BUCKETS`]: buckets that are full again, which say
//! nothing, are forgotten when room is needed, and who finds none shares one bucket with everybody else who does not.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use metrics::Counter;

use crate::contract::{Lane, PublisherName};
use crate::telemetry::fields;

/// Most buckets of one kind, in about a MiB. A sender that took one token needs one for no longer than that token takes to
/// come back, so only as many senders as are active within that time need one at once.
pub const MOST_BUCKETS: usize = 50_000;

/// One bucket for each sender.
#[derive(Debug)]
pub struct Buckets<C: Clock = DefaultClock> {
    limiter: RateLimiter<u64, Table, C, NoOpMiddleware<C::Instant>>,
    /// Random, so that nobody can choose a name that shares another's bucket.
    names: RandomState,
    refill: Duration,
    /// Not to be swept before, when it is full.
    next_sweep: Mutex<Option<C::Instant>>,
}

impl Buckets {
    /// Buckets that hold as many tokens as come in a second.
    pub fn per_second(rate: NonZeroU32) -> Self {
        Self::new(Quota::per_second(rate), DefaultClock::default())
    }

    /// Buckets of `burst` tokens, with one more every `period`, which is not zero.
    pub fn one_every(period: Duration, burst: NonZeroU32) -> Self {
        let slowest = Quota::per_hour(NonZeroU32::MIN);
        Self::new(Quota::with_period(period).unwrap_or(slowest).allow_burst(burst), DefaultClock::default())
    }
}

impl<C: Clock> Buckets<C> {
    /// Buckets of any size and clock.
    pub fn new(quota: Quota, clock: C) -> Self {
        let limiter = RateLimiter::new(quota, Table::default(), clock);
        let refill = quota.burst_size_replenished_in();
        Self { limiter, names: RandomState::new(), refill, next_sweep: Mutex::default() }
    }

    /// Takes one token of a sender.
    ///
    /// # Errors
    /// There is none; how long it takes until there is.
    pub fn take(&self, sender: &impl Hash) -> Result<(), Duration> {
        self.make_room();
        let taken = self.limiter.check_key(&self.names.hash_one(sender));
        taken.map_err(|none| none.wait_time_from(self.limiter.clock().now()))
    }

    /// How many senders have a bucket of their own.
    pub fn len(&self) -> usize {
        self.limiter.len()
    }

    /// Does nobody have one?
    pub fn is_empty(&self) -> bool {
        self.limiter.is_empty()
    }

    /// Forgets full buckets when there is no room for another, but no more often than buckets take to become full: who
    /// keeps the table full must not make every message pay for a sweep.
    fn make_room(&self) {
        if self.limiter.len() < MOST_BUCKETS {
            return;
        }
        let now = self.limiter.clock().now();
        let mut next = locked(&self.next_sweep);
        if next.is_none_or(|next| next <= now) {
            *next = Some(now + Nanos::from(self.refill));
            self.limiter.retain_recent();
        }
    }
}

/// The states of all buckets.
#[derive(Debug, Default)]
struct Table(Mutex<States>);

#[derive(Debug, Default)]
struct States {
    own: HashMap<u64, Nanos>,
    /// Shared by those for whom there is no room.
    crowd: Option<Nanos>,
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut states = locked(&self.0);
        let own = states.own.get(key).copied();
        let crowded = own.is_none() && states.own.len() >= MOST_BUCKETS;
        let (answer, state) = measure(if crowded { states.crowd } else { own })?;
        if crowded {
            states.crowd = Some(state);
        } else {
            states.own.insert(*key, state);
        }
        Ok(answer)
    }
}

impl ShrinkableKeyedStateStore<u64> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        locked(&self.0).own.retain(|_, state| *state > drop_below);
    }

    fn len(&self) -> usize {
        locked(&self.0).own.len()
    }

    fn is_empty(&self) -> bool {
        locked(&self.0).own.is_empty()
    }
}

/// Every state is a whole one, so what a thread that died has left is sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which lane a message takes: main within its sender's soft rate, overflow beyond it. Nothing is refused.
#[derive(Debug)]
pub struct SoftRate<C: Clock = DefaultClock>(Option<Buckets<C>>);

impl SoftRate {
    /// Messages of one sender a second, with as many again in one burst; `None` leaves everything in main.
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        Self(rate.map(Buckets::per_second))
    }
}

impl<C: Clock> SoftRate<C> {
    /// With buckets of any size and clock.
    pub fn of(buckets: Buckets<C>) -> Self {
        Self(Some(buckets))
    }

    /// Takes one message of a sender.
    pub fn lane(&self, sender: &impl Hash) -> Lane {
        match &self.0 {
            Some(buckets) if buckets.take(sender).is_err() => Lane::Overflow,
            Some(_) | None => Lane::Main,
        }
    }
}

/// Counts what a publisher's queues hold, by lane.
#[derive(Debug, Clone)]
pub struct LaneCounts {
    main: Counter,
    overflow: Counter,
}

impl LaneCounts {
    /// Of one publisher. The metrics recorder must be in place.
    pub fn new(publisher: &PublisherName) -> Self {
        let of = |lane: Lane| {
            let labels = [("publisher", publisher.to_string()), ("lane", lane.as_str().to_owned())];
            metrics::counter!(fields::LANE_PUBLISHED, &labels)
        };
        Self { main: of(Lane::Main), overflow: of(Lane::Overflow) }
    }

    /// The broker has confirmed a message in this lane.
    pub fn count(&self, lane: Lane) {
        match lane {
            Lane::Main => self.main.increment(1),
            Lane::Overflow => self.overflow.increment(1),
        }
    }
}

#[cfg(test)]
mod tests;
