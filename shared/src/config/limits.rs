//! `[limits]`: how fast one sender may go, and beyond which rate it overflows.

use std::num::NonZeroU32;
use std::str::FromStr;

use super::Reader;

/// Messages a second, each rate with as many again in one burst; `None` (in the file `"off"`) is no bound. Every ingress
/// counts for itself, in memory: with three of them a tenant whose requests are spread evenly has three times the rate.
///
/// `soft_rate` and `webhook_soft_rate` both `"off"` turn the lanes off: everything the edge takes goes to main.
#[derive(Debug, Clone, Copy)]
pub struct LimitsConfig {
    /// Commands of one tenant: beyond it a command goes to the overflow lane, with whatever else overflows.
    pub soft_rate: Option<NonZeroU32>,
    /// Commands of one tenant: beyond it the edge answers 429.
    pub hard_rate: Option<NonZeroU32>,
    /// Webhooks of one account or customer of a source, or of the source where an event names none: beyond it an event
    /// goes to the overflow lane.
    pub webhook_soft_rate: Option<NonZeroU32>,
    /// Webhooks of one source, whoever they are about: beyond it the edge answers 429. Off unless it is set, since a
    /// provider repeats what is refused for days, and some give up on the endpoint.
    pub source_hard_rate: Option<NonZeroU32>,
}

impl LimitsConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let config = Self {
            soft_rate: rate(s, "soft_rate", NonZeroU32::new(50)),
            hard_rate: rate(s, "hard_rate", NonZeroU32::new(200)),
            webhook_soft_rate: rate(s, "webhook_soft_rate", NonZeroU32::new(50)),
            source_hard_rate: rate(s, "source_hard_rate", None),
        };
        in_order(s, ("soft_rate", config.soft_rate), ("hard_rate", config.hard_rate));
        in_order(s, ("webhook_soft_rate", config.webhook_soft_rate), ("source_hard_rate", config.source_hard_rate));
        config
    }
}

fn in_order(s: &mut Reader, soft: (&str, Option<NonZeroU32>), hard: (&str, Option<NonZeroU32>)) {
    if let (Some(overflows), Some(refused)) = (soft.1, hard.1)
        && overflows > refused
    {
        s.mistake(soft.0, format!("must not exceed {}: overflow comes before the refusal", hard.0));
    }
}

/// A rate as it stands in the file.
struct Rate(Option<NonZeroU32>);

/// Fastest rate that can be said; faster ones are none.
const FASTEST: u32 = 1_000_000;

impl FromStr for Rate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self(None)),
            _ => match text.parse::<NonZeroU32>() {
                Ok(rate) if rate.get() <= FASTEST => Ok(Self(Some(rate))),
                _ => Err(()),
            },
        }
    }
}

fn rate(s: &mut Reader, key: &str, default: Option<NonZeroU32>) -> Option<NonZeroU32> {
    let form = format!("a whole number from 1 to {FASTEST}, or \"off\"");
    s.parsed(key, Some(Rate(default)), &form).map_or(default, |rate| rate.0)
}
