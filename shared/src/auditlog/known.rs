//! Which events have a line already: the recent ones in memory, older ones in the segments of their time.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use uuid::Uuid;

use crate::contract::Timestamp;

/// How long an event id is remembered in memory, at least.
pub(super) const WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// How far a producer's clock may be ahead.
pub(super) const SKEW: Duration = Duration::from_secs(300);

/// Is this time ahead of a clock by more than clocks differ?
pub(super) fn is_ahead(arose: Timestamp, now: Timestamp) -> bool {
    arose.moment() > now.moment() + SKEW
}

/// Event ids are taken from a keyed hash, so they are spread already.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        // Both ends of an id have random bits; version and variant stand in its middle.
        self.0 = ((id >> 64) as u64 ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type Ids = HashSet<u128, BuildHasherDefault<Spread>>;

/// The ids in memory: two generations, so that forgetting is dropping one, whatever its size.
#[derive(Debug, Default)]
pub(super) struct Known {
    young: Ids,
    old: Ids,
    young_since: Option<Timestamp>,
    /// Every line of an event later than this is in memory.
    horizon: Option<Timestamp>,
}

impl Known {
    /// Knows nothing yet; what has arisen until `horizon` stands in the files only.
    pub(super) fn new(horizon: Timestamp, now: Timestamp) -> Self {
        Self { young_since: Some(now), horizon: Some(horizon), ..Self::default() }
    }

    /// Remembers an id; false when it is known already.
    pub(super) fn insert(&mut self, id: Uuid) -> bool {
        let id = id.as_u128();
        !self.old.contains(&id) && self.young.insert(id)
    }

    pub(super) fn contains(&self, id: Uuid) -> bool {
        self.old.contains(&id.as_u128()) || self.young.contains(&id.as_u128())
    }

    /// May this event have a line that is not in memory? A time in the future says nothing about when its line was
    /// written.
    pub(super) fn may_be_older(&self, arose: Timestamp, now: Timestamp) -> bool {
        self.horizon.is_some_and(|horizon| arose <= horizon) || is_ahead(arose, now)
    }

    /// Forgets what is old enough. All that was written before the old generation began arose before that, as far as
    /// clocks agree.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let Some(since) = self.young_since else { return };
        if now.moment() - since.moment() >= WINDOW {
            self.old = std::mem::take(&mut self.young);
            self.horizon = Some(Timestamp::new(since.moment() + SKEW));
            self.young_since = Some(now);
        }
    }
}

/// The ids of some closed segments that were looked into last.
#[derive(Debug, Default)]
pub(super) struct Looked(HashMap<u64, Ids>);

impl Looked {
    /// Segments whose ids are kept, some MiB each.
    const MOST: usize = 8;

    pub(super) fn get(&self, first: u64) -> Option<&Ids> {
        self.0.get(&first)
    }

    pub(super) fn keep(&mut self, first: u64, ids: Ids) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(first, ids);
    }
}
