//! Ages as people say them: `45s`, `30m`, `2h`, `7d`.

use std::fmt;
use std::str::FromStr;

use time::{Duration, OffsetDateTime};

/// How long ago something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age(u32, char);

/// A text that is no age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("say how long ago with a unit: 45s, 30m, 2h or 7d")]
pub(super) struct NoAge;

impl FromStr for Age {
    type Err = NoAge;

    fn from_str(text: &str) -> Result<Self, NoAge> {
        let unit = text.chars().last().filter(|unit| "smhd".contains(*unit)).ok_or(NoAge)?;
        let number = text.strip_suffix(unit).filter(|n| n.bytes().all(|b| b.is_ascii_digit())).ok_or(NoAge)?;
        number.parse().map(|number| Self(number, unit)).map_err(|_| NoAge)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

impl Age {
    /// The moment that long before `now`; before all that is, 1970.
    pub(super) fn before(self, now: OffsetDateTime) -> OffsetDateTime {
        let seconds = match self.1 {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => 86_400,
        };
        let moment = now.checked_sub(Duration::seconds(i64::from(self.0) * seconds));
        moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).max(OffsetDateTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_its_unit() {
        let now = OffsetDateTime::from_unix_timestamp(10_000_000).unwrap();
        for (text, seconds) in [("0s", 0), ("45s", 45), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)] {
            let age: Age = text.parse().unwrap();
            assert_eq!(age.before(now), now - Duration::seconds(seconds), "{text}");
            assert_eq!(age.to_string(), text);
        }
        assert_eq!("4294967295d".parse::<Age>().unwrap().before(now), OffsetDateTime::UNIX_EPOCH);
        for text in ["", "7", "d", "-7d", "+7d", "7w", "7 d", "1.5h", "4294967296s", "7dd", "７d", "7é"] {
            assert_eq!(text.parse::<Age>(), Err(NoAge), "{text:?}");
        }
    }
}
