//! Subscription state from duplicated and reordered events, as pure functions.
//!
//! An event's state is taken when the stored one is not terminal and the event is newer: a later second, or the same
//! second and a higher rank (created < updated < deleted). Whole seconds alone never decide. Two of one second and rank
//! that differ are a tie, which the provider's answer settles: it was given after both.

use time::OffsetDateTime;

use super::access::Status;
use super::history::Change;

/// Who said what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Event,
    /// The provider, when it was asked.
    Refetch,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Refetch => "refetch",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        if text == Self::Refetch.as_str() { Self::Refetch } else { Self::Event }
    }
}

/// What a subscription is, whoever says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) status: Status,
    /// `None` where the provider did not say: what is known stays.
    pub(super) plan: Option<String>,
    pub(super) period_end: Option<OffsetDateTime>,
}

/// A row of `app.subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) state: State,
    /// Since when the status holds, as far as it is known.
    pub(super) since: OffsetDateTime,
    pub(super) last_created: OffsetDateTime,
    pub(super) last_rank: i16,
    pub(super) source: Source,
    pub(super) needs_refetch: bool,
    /// Ties so far. The number names the last one.
    pub(super) ties: i32,
}

/// An event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) created: OffsetDateTime,
    pub(super) rank: i16,
}

impl State {
    /// This, with what it leaves open taken from before.
    fn over(self, before: &Self) -> Self {
        Self {
            status: self.status,
            plan: self.plan.or_else(|| before.plan.clone()),
            period_end: self.period_end.or(before.period_end),
        }
    }
}

/// Merges an event. `None` leaves the row as it is.
pub(super) fn event(stored: Option<&Stored>, seen: Seen) -> (Option<Stored>, Change) {
    let Seen { state, created, rank } = seen;
    let Some(stored) = stored else {
        let (source, needs_refetch, ties) = (Source::Event, false, 0);
        let first =
            Stored { state, since: created, last_created: created, last_rank: rank, source, needs_refetch, ties };
        return (Some(first), Change::Changed);
    };
    if stored.state.status.is_terminal() {
        return (None, Change::Stale);
    }
    let state = state.over(&stored.state);
    if (created, rank) > (stored.last_created, stored.last_rank) {
        let since = if state.status == stored.state.status { stored.since } else { created };
        let (source, ties) = (Source::Event, stored.ties);
        let newer = Stored { state, since, last_created: created, last_rank: rank, source, needs_refetch: false, ties };
        return (Some(newer), Change::Changed);
    }
    if (created, rank) == (stored.last_created, stored.last_rank) && state != stored.state {
        let tied = Stored { needs_refetch: true, ties: stored.ties + 1, ..stored.clone() };
        return (Some(tied), Change::Ambiguous);
    }
    (None, Change::Stale)
}

/// Merges the provider's answer about a tie. It wins, unless something newer has come since it was asked for: then that
/// has settled the tie, or a later one is asked about by itself.
pub(super) fn answer(stored: &Stored, tie: i32, state: State) -> (Option<Stored>, Change) {
    if !stored.needs_refetch || stored.ties != tie || stored.state.status.is_terminal() {
        return (None, Change::Stale);
    }
    let state = state.over(&stored.state);
    let since = if state.status == stored.state.status { stored.since } else { stored.last_created };
    (Some(Stored { state, since, source: Source::Refetch, needs_refetch: false, ..stored.clone() }), Change::Changed)
}

#[cfg(test)]
mod tests;
