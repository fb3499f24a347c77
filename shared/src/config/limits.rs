//! `[limits]`: how fast one tenant may send commands.

use std::num::NonZeroU32;

use super::Reader;

/// Commands of one tenant a second, each with as much again in one burst. Every ingress counts for itself.
#[derive(Debug, Clone, Copy)]
pub struct LimitsConfig {
    /// Beyond it a command waits in the overflow lane, with whatever else overflows.
    pub soft_rate: NonZeroU32,
    /// Beyond it the edge answers 429.
    pub hard_rate: NonZeroU32,
}

impl LimitsConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let config = Self { soft_rate: rate(s, "soft_rate", 50), hard_rate: rate(s, "hard_rate", 200) };
        if config.soft_rate > config.hard_rate {
            s.mistake("soft_rate", "must not exceed hard_rate: overflow comes before the refusal");
        }
        config
    }
}

fn rate(s: &mut Reader, key: &str, default: u32) -> NonZeroU32 {
    let rate = u32::try_from(s.number(key, default.into(), 1..=1_000_000)).unwrap_or(default);
    NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN)
}
