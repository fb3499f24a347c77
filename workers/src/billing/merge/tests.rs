//! Every order of a trace, with duplicates, ends in the same state once what is to be asked is answered.

use time::Duration;

use super::*;

/// The second in which the trace begins.
const BEGAN: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn seen(status: Status, plan: &str, second: i64, rank: i16) -> Seen {
    let period_end = Some(BEGAN + Duration::days(30));
    let state = State { status, plan: Some(plan.to_owned()), period_end };
    Seen { state, created: BEGAN + Duration::seconds(second), rank }
}

/// Six events as Stripe makes them: created and updated in one second, and two updates of one second that only their order
/// at Stripe tells apart. With `last_tied` they are the newest.
fn trace(last_tied: bool) -> [Seen; 6] {
    let tied = if last_tied { 9 } else { 5 };
    [
        seen(Status::Incomplete, "basic", 0, 0),
        seen(Status::Active, "basic", 0, 1),
        seen(Status::PastDue, "basic", 3, 1),
        seen(Status::Active, "basic", tied, 1),
        seen(Status::Active, "pro", tied, 1),
        seen(Status::PastDue, "pro", 7, 1),
    ]
}

/// The nth order of six, in the factorial number system.
fn order(mut n: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..6).collect();
    for place in (1..=6).rev() {
        places[..place].rotate_left(n % place);
        n /= place;
    }
    places
}

/// A mirror, the questions that it has open, and the provider's word.
struct Mirror {
    stored: Option<Stored>,
    open: Vec<i32>,
    truth: State,
}

impl Mirror {
    fn see(&mut self, event_seen: &Seen) {
        let (row, change) = event(self.stored.as_ref(), event_seen.clone());
        if let Some(row) = row {
            if change == Change::Ambiguous {
                self.open.push(row.ties);
            }
            self.stored = Some(row);
        }
    }

    fn answers(&mut self) {
        for tie in std::mem::take(&mut self.open) {
            let Some(stored) = &self.stored else { continue };
            if let (Some(row), _) = answer(stored, tie, self.truth.clone()) {
                self.stored = Some(row);
            }
        }
    }
}

/// What the mirror ends in when answers come after so many events each, with every event doubled.
fn ends(events: &[Seen; 6], order: &[usize], every: usize) -> State {
    let truth = State { status: Status::Active, plan: Some("pro".to_owned()), period_end: events[0].state.period_end };
    let newest = events.iter().max_by_key(|seen| (seen.created, seen.rank)).unwrap();
    let tied = events.iter().filter(|seen| seen.created == newest.created).count() > 1;
    let truth = if tied { truth } else { newest.state.clone() };
    let mut mirror = Mirror { stored: None, open: Vec::new(), truth };
    // A duplicate that the inbox lets through, as a twin of another id would be: at once, and again at the end.
    let doubled = order.iter().flat_map(|place| [*place, *place]).chain(order.iter().copied());
    for (count, place) in doubled.enumerate() {
        mirror.see(&events[place]);
        if (count + 1) % every == 0 {
            mirror.answers();
        }
    }
    mirror.answers();
    let stored = mirror.stored.unwrap();
    assert!(!stored.needs_refetch, "somebody still has to be asked");
    stored.state
}

#[test]
fn all_720_orders_end_in_the_same_state() {
    for last_tied in [true, false] {
        let events = trace(last_tied);
        let mut orders = std::collections::BTreeSet::new();
        for n in 0..720 {
            let order = order(n);
            for every in [1, 2, 3, 7, 1_000] {
                let state = ends(&events, &order, every);
                let wanted = if last_tied { Status::Active } else { Status::PastDue };
                assert_eq!((state.status, state.plan.as_deref()), (wanted, Some("pro")), "{order:?} {every}");
            }
            orders.insert(order);
        }
        assert_eq!(orders.len(), 720);
    }
}

#[test]
fn what_has_ended_stays_ended_in_every_order() {
    for (end, rank) in [(Status::Canceled, 2), (Status::IncompleteExpired, 1)] {
        let mut events = trace(true);
        events[5] = seen(end, "pro", 9, rank);
        events[4] = seen(Status::PastDue, "pro", 8, 1);
        events[3] = seen(Status::Active, "pro", 8, 1);
        for n in 0..720 {
            assert_eq!(ends(&events, &order(n), 1_000).status, end);
        }
    }
}

#[test]
fn an_answer_settles_its_own_tie_and_no_later_one() {
    let events = trace(true);
    let (first, _) = event(None, events[3].clone());
    let (tied, change) = event(first.as_ref(), events[4].clone());
    let tied = tied.unwrap();
    assert_eq!((change, tied.ties, tied.needs_refetch), (Change::Ambiguous, 1, true));
    let (again, _) = event(Some(&tied), seen(Status::Paused, "pro", 9, 1));
    let again = again.unwrap();
    assert_eq!(again.ties, 2);
    let truth = events[4].state.clone();
    assert_eq!(answer(&again, 1, truth.clone()), (None, Change::Stale), "it was asked before the third was seen");
    let (settled, _) = answer(&again, 2, truth.clone());
    let settled = settled.unwrap();
    assert_eq!((settled.state.clone(), settled.source, settled.needs_refetch), (truth.clone(), Source::Refetch, false));
    assert_eq!(event(Some(&settled), events[4].clone()), (None, Change::Stale), "it says what is known");
    let newer = event(Some(&tied), seen(Status::Unpaid, "pro", 10, 1)).0.unwrap();
    assert_eq!(answer(&newer, 1, truth), (None, Change::Stale), "something newer has come");
}

#[test]
fn every_status_is_taken_over_and_the_terminal_two_are_kept() {
    for before in Status::ALL {
        for after in Status::ALL {
            let (first, _) = event(None, seen(before, "basic", 0, 0));
            let (row, change) = event(first.as_ref(), seen(after, "pro", 1, 1));
            match before.is_terminal() {
                true => assert_eq!((row, change), (None, Change::Stale)),
                false => assert_eq!(row.unwrap().state.status, after),
            }
        }
    }
}
