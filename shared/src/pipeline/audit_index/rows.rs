//! Lines as rows of the index, column by column as PostgreSQL takes them.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use crate::auditlog::{Placed, StoredLine};

/// Longest text of a column, in bytes: an entry of an index has a bound, and the line itself has the rest.
const LONGEST: usize = 512;
/// How far ahead of us a producer's clock may be and still have its month made.
const AHEAD: Duration = Duration::days(31);

/// The rows of one transaction.
#[derive(Debug, Default)]
pub(super) struct Rows {
    orgs: Vec<String>,
    times: Vec<OffsetDateTime>,
    numbers: Vec<i64>,
    ids: Vec<Uuid>,
    actors: Vec<String>,
    actions: Vec<String>,
    resource_types: Vec<String>,
    resource_ids: Vec<String>,
    outcomes: Vec<String>,
    codes: Vec<Option<String>>,
    segments: Vec<i64>,
    offsets: Vec<i64>,
    lengths: Vec<i32>,
    /// First days of the months that they are of. Others have a place that is made already.
    pub(super) months: BTreeSet<Date>,
    /// When the newest line arose.
    pub(super) newest: Option<OffsetDateTime>,
    /// Lines that are too old for the index.
    pub(super) old: u64,
    /// Lines that are none of ours.
    pub(super) unreadable: u64,
}

impl Rows {
    /// What of these lines is younger than so many days.
    pub(super) fn of(lines: &[Placed], now: OffsetDateTime, days: u16) -> Self {
        let mut rows = Self::default();
        for placed in lines {
            match StoredLine::parse(&placed.line) {
                None => {
                    tracing::error!(line = placed.place.lines, "no line of an audit log; run millrace audit verify");
                    rows.unreadable += 1;
                }
                Some(line) if line.timestamp < now - Duration::days(i64::from(days)) => rows.old += 1,
                Some(line) => rows.add(placed, &line, now),
            }
        }
        rows
    }

    fn add(&mut self, placed: &Placed, line: &StoredLine, now: OffsetDateTime) {
        if line.timestamp < now + AHEAD {
            self.months.extend(month(line.timestamp));
        }
        self.newest = self.newest.max(Some(line.timestamp));
        self.orgs.push(line.org_id.to_string());
        self.times.push(line.timestamp);
        self.numbers.push(line.tenant_seq);
        self.ids.push(line.event_id);
        self.actors.push(fitting(&line.actor));
        self.actions.push(fitting(&line.action));
        self.resource_types.push(fitting(&line.resource_type));
        self.resource_ids.push(fitting(&line.resource_id));
        self.outcomes.push(line.outcome.to_string());
        self.codes.push(line.fact("code").map(fitting));
        self.segments.push(signed(placed.place.segment));
        self.offsets.push(signed(placed.place.offset));
        self.lengths.push(i32::try_from(placed.line.len()).unwrap_or(i32::MAX));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds them. A number that a tenant has already is no second line: the log is at fault then, and not the index.
    pub(super) async fn insert(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO app.audit_index (org_id, timestamp, tenant_seq, event_id, actor, action, resource_type,
               resource_id, outcome, code, segment, byte_offset, byte_length)
             SELECT * FROM UNNEST($1::text[], $2::timestamptz[], $3::bigint[], $4::uuid[], $5::text[], $6::text[],
               $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::int[])
             ON CONFLICT DO NOTHING",
            &self.orgs,
            &self.times,
            &self.numbers,
            &self.ids,
            &self.actors,
            &self.actions,
            &self.resource_types,
            &self.resource_ids,
            &self.outcomes,
            &self.codes as &[Option<String>],
            &self.segments,
            &self.offsets,
            &self.lengths,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// First days of the present month and the next.
pub(super) fn around(now: OffsetDateTime) -> Vec<Date> {
    [now, now + AHEAD].into_iter().filter_map(month).collect()
}

/// The first day of a moment's month.
fn month(at: OffsetDateTime) -> Option<Date> {
    at.date().replace_day(1).ok()
}

/// A text as an index can hold it: cut, and without what PostgreSQL has no place for.
fn fitting(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

/// No log has more lines or bytes than PostgreSQL can count.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditlog::Place;

    fn placed(time: &str) -> Placed {
        let line = format!(
            r#"{{"timestamp":"{time}","org_id":"acme","actor_id":"user:u","action":"a","resource_type":"r","resource_id":"{}","metadata":{{"code":"c"}},"event_id":"00000000-0000-8000-8000-000000000001","outcome":"denied","tenant_seq":7}}"#,
            "é".repeat(300),
        );
        Placed { place: Place::default(), line: line.into_bytes() }
    }

    #[test]
    fn what_is_old_or_no_line_is_counted_and_the_rest_is_cut_to_fit() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_323_045).unwrap();
        let foreign = Placed { place: Place::default(), line: b"{}".to_vec() };
        let times = ["2026-01-02T03:04:05.000006Z", "2025-11-01T00:00:00.000000Z", "2019-01-01T00:00:00.000000Z"];
        let lines: Vec<Placed> = times.into_iter().map(placed).chain([foreign]).collect();
        let rows = Rows::of(&lines, now, 90);
        assert_eq!((rows.len(), rows.old, rows.unreadable), (2, 1, 1));
        assert_eq!(rows.months.len(), 2);
        assert_eq!(rows.resource_ids[0].len(), LONGEST);
        assert_eq!(rows.codes[0].as_deref(), Some("c"));
        assert_eq!(fitting("a\0b"), "a\u{fffd}b");
        // A clock far ahead has its line, in the place for all other months.
        let ahead = Rows::of(&[placed("2030-01-01T00:00:00.000000Z")], now, 90);
        assert_eq!((ahead.len(), ahead.months.len()), (1, 0));
    }
}
