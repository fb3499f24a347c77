//! Lines whose own time lies in the future: neither kept for ever nor written twice.

use time::OffsetDateTime;

use super::*;
use crate::auditlog::PruneRecord;
use crate::auditlog::known::Known;
use crate::auditlog::segments::{Closed, ledger};
use crate::contract::Timestamp;

fn hours_from_now(hours: i64) -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc() + time::Duration::hours(hours))
}

fn at(id: u128, when: Timestamp) -> Entry {
    Entry::read(event(id, "acme", &when.to_string()).render().unwrap()).unwrap()
}

/// A log of two segments; the first was closed, so its ledger says, at the given time.
fn closed(first: &[Entry], when: Timestamp) -> (Bed, Closed) {
    let bed = Bed::small(500);
    let mut log = bed.open();
    log.append(first).unwrap();
    log.append(&[entry(900, "globex", 1)]).unwrap();
    log.close().unwrap();
    let mut closed = ledger(&bed.layout()).unwrap().remove(0);
    closed.closed = Some(when.to_string());
    std::fs::write(bed.layout().ledger(), serde_json::to_string(&closed).unwrap() + "\n").unwrap();
    (bed, closed)
}

/// The writer, as if it had run for days since it read the lines.
fn forgetful(bed: &Bed) -> crate::auditlog::Stager {
    let (mut stager, appender) = bed.open().split();
    let now = Timestamp::new(OffsetDateTime::now_utc());
    stager.known = Known::new(Timestamp::new(now.moment() - time::Duration::days(1)), now);
    drop(appender);
    stager
}

#[test]
fn a_line_that_came_before_its_time_is_known_when_that_time_is_over() {
    let arose = hours_from_now(-1);
    let lines = [at(1, arose), at(2, arose), at(3, arose)];
    let (bed, _) = closed(&lines, hours_from_now(-48));
    let mut stager = forgetful(&bed);
    let mut block = super::super::Block::default();
    stager.stage(&[at(4, arose), at(2, arose)], &mut block).unwrap();
    assert_eq!(block.lines(), 1, "event 2 was written two days ago, dated to the last hour");
    // Of a segment whose clock was right nothing of the last day can be forgotten, so nobody looks there.
    let (bed, _) = closed(&lines, hours_from_now(0));
    let mut stager = forgetful(&bed);
    let mut block = super::super::Block::default();
    stager.stage(&[at(2, arose)], &mut block).unwrap();
    assert_eq!(block.lines(), 1);
}

#[test]
fn a_line_from_the_future_keeps_its_segment_no_longer_than_others() {
    let (_, closed) = closed(&[at(1, hours_from_now(90_000)), at(2, hours_from_now(0))], hours_from_now(-50));
    let plan = |closed: &Closed, days| {
        let one = Closed { lines: 256, ..closed.clone() };
        PruneRecord::plan(&[one], 0, 256, "00".to_owned(), days, hours_from_now(0))
    };
    assert!(plan(&closed, 2).is_some(), "all of it was there 50 hours ago");
    assert_eq!(plan(&closed, 3), None);
    assert_eq!(plan(&Closed { closed: None, ..closed }, 2), None, "an older version did not say");
}

#[test]
fn a_segment_keeps_the_first_moment_at_which_a_line_came_before_its_time() {
    let bed = Bed::new();
    let (mut stager, _appender) = bed.open().split();
    stager.stage(&[at(1, hours_from_now(2))], &mut super::super::Block::default()).unwrap();
    let first = stager.spans[0].ahead;
    assert!(first.is_some());
    stager.stage(&[at(2, hours_from_now(0))], &mut super::super::Block::default()).unwrap();
    assert_eq!(stager.spans[0].ahead, first);
}
