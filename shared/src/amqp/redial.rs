//! When to dial again, and how carefully.

use std::time::Duration;

use super::AmqpFault;
use crate::retry::{Delays, RetrySchedule};

/// A connection that lived this long was no failed try.
const HEALTHY: Duration = Duration::from_secs(5);
/// Pause of a session that one message keeps breaking.
const CAREFUL_PAUSE: Duration = Duration::from_millis(50);

/// Kept over the lives of one connection. After one that unreadable bytes have ended, the next are careful: they take one
/// message a consumer, so that the broker charges the culprit and not its neighbours, and they come soon, so that it
/// gives up on it soon.
#[derive(Debug)]
pub struct Redial {
    delays: Delays,
    careful: bool,
}

impl Default for Redial {
    fn default() -> Self {
        Self { delays: RetrySchedule::connections().delays(), careful: false }
    }
}

impl Redial {
    /// What the broker may hand over in advance.
    pub fn prefetch(&self, usual: u16) -> u16 {
        if self.careful { 1 } else { usual }
    }

    /// The pause after a connection that lived for `lived`, or a dial, was ended by `fault`.
    pub fn pause(&mut self, lived: Duration, fault: &AmqpFault) -> Duration {
        self.careful = fault.is_unreadable() || self.careful && lived < HEALTHY;
        let usual = self.pause_after(lived);
        if self.careful { CAREFUL_PAUSE } else { usual }
    }

    /// The pause after a connection that only publishes, which receives nothing unreadable.
    pub(super) fn pause_after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY {
            self.delays.reset();
        }
        self.delays.next_delay()
    }
}
