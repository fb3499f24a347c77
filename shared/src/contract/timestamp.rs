//! Points in time as they are written: RFC 3339, UTC, exactly six digits of fraction.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC, cut to whole microseconds so that what PostgreSQL stores and what a line shows are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Cuts to whole microseconds and moves to UTC.
    pub fn new(moment: OffsetDateTime) -> Self {
        let utc = moment.checked_to_offset(time::UtcOffset::UTC).unwrap_or(moment);
        Self(utc.replace_nanosecond(utc.microsecond() * 1_000).unwrap_or(utc))
    }

    /// Only the years that PostgreSQL, AMQP and six digits of fraction all hold: 1970 to 9999 in UTC.
    fn sane(moment: OffsetDateTime) -> Option<Self> {
        let utc = moment.checked_to_offset(time::UtcOffset::UTC)?;
        (1970..=9999).contains(&utc.year()).then(|| Self::new(utc))
    }

    /// Seconds since 1970, as Stripe and AMQP count them. `None` before 1970 and beyond the year 9999.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(Self::sane)
    }

    /// Reads any RFC 3339 text of the years 1970 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().and_then(Self::sane)
    }

    /// The moment itself, for SQL parameters and arithmetic.
    pub fn moment(self) -> OffsetDateTime {
        self.0
    }

    /// Whole seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.microsecond()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_that_leaves_the_calendar_in_utc_is_no_time() {
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59-23:59"), None);
        assert_eq!(Timestamp::parse("0000-01-01T00:00:00+23:59"), None);
        assert_eq!(Timestamp::from_unix(-300_000_000_000), None);
    }

    proptest! {
        #[test]
        fn text_and_moment_are_one(seconds in 0_i64..4_000_000_000, micros in 0_u32..1_000_000) {
            let t = Timestamp::from_unix(seconds).unwrap();
            let t = Timestamp::new(t.moment().replace_microsecond(micros).unwrap());
            let text = t.to_string();
            prop_assert_eq!(text.len(), 27);
            prop_assert_eq!(Timestamp::parse(&text), Some(t));
        }
    }
}
