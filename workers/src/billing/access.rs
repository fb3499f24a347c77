//! Access: a pure function of (status or unknown, age of the earliest unpaid invoice, override, now). Events move its
//! inputs; none grants or revokes anything directly. Time moves it too: a message for later reviews it.

use std::sync::Arc;

use millrace::contract::Timestamp;
use millrace::contract::payloads::{AccessChanged, AccessLevel as Access, BillingReviewAccess};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault};
use time::{Duration, OffsetDateTime};

/// Which level applies from which age of the earliest unpaid invoice. Below the first age nothing has happened yet; access
/// is not cut at the first failed payment unless somebody says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds(Arc<[(Duration, Access)]>);

impl Thresholds {
    /// From days and levels, in the order of the days.
    pub fn new(days: &[(u16, Access)]) -> Self {
        Self(days.iter().map(|(days, level)| (Duration::days((*days).into()), *level)).collect())
    }

    fn level(&self, age: Duration) -> Access {
        self.0.iter().rev().find(|(from, _)| age >= *from).map_or(Access::Full, |(_, level)| *level)
    }

    /// The next age after this one at which another threshold is reached.
    fn next(&self, age: Duration) -> Option<Duration> {
        self.0.iter().map(|(from, _)| *from).find(|from| *from > age)
    }
}

/// The eight states of a subscription. There is no ninth: an unknown text changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// First payment pending.
    Incomplete,
    /// First payment never came; terminal.
    IncompleteExpired,
    /// Trial.
    Trialing,
    /// Paid.
    Active,
    /// A renewal failed, the provider retries.
    PastDue,
    /// Ended; terminal.
    Canceled,
    /// The provider has given up retrying.
    Unpaid,
    /// Trial over without payment method.
    Paused,
}

impl Status {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Canceled,
        Self::Unpaid,
        Self::Paused,
    ];

    /// Stripe's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    /// Reads Stripe's text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Never comes back to life.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Counts as unpaid from its own event on, until a payment leaves nothing unpaid.
    fn owes(self) -> bool {
        matches!(self, Self::PastDue | Self::Unpaid | Self::Incomplete)
    }
}

/// What somebody entitled to it has decided instead of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// The level.
    pub level: Access,
    /// Until when; `None` is for good.
    pub until: Option<OffsetDateTime>,
}

/// The facts behind a tenant's access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The subscription that counts, with the time of the event that wrote its status; `None` is unknown.
    pub status: Option<(Status, OffsetDateTime)>,
    /// First failed payment of the earliest invoice that is still unpaid.
    pub open_since: Option<OffsetDateTime>,
    /// Latest payment.
    pub paid_at: Option<OffsetDateTime>,
    /// Instead of all of that.
    pub overridden: Option<Override>,
}

impl Standing {
    /// The pure function. Every state and unknown has its own arm.
    pub fn access(&self, thresholds: &Thresholds, now: OffsetDateTime) -> Access {
        if let Some(instead) = self.overridden.filter(|instead| instead.until.is_none_or(|until| now < until)) {
            return instead.level;
        }
        let by_age = self.unpaid_since().map_or(Access::Full, |since| thresholds.level(now - since));
        let cleared = self.cleared();
        match self.status.map(|(status, _)| status) {
            None => by_age,
            Some(Status::Active | Status::Trialing | Status::PastDue) => by_age,
            Some(Status::Unpaid) if cleared => Access::Full,
            Some(Status::Unpaid) => by_age.max(Access::ReadOnly),
            Some(Status::Incomplete) if cleared => Access::Full,
            Some(Status::Incomplete) => Access::Suspended,
            Some(Status::Paused) => by_age.max(Access::ReadOnly),
            Some(Status::Canceled | Status::IncompleteExpired) => Access::Suspended,
        }
    }

    /// When time alone may change the answer next.
    pub fn changes_at(&self, thresholds: &Thresholds, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let ends = self.overridden.and_then(|instead| instead.until).filter(|until| *until > now);
        let ages = self.unpaid_since().and_then(|since| Some(since + thresholds.next(now - since)?));
        match (ends, ages) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Since when something is unpaid.
    pub fn unpaid_since(&self) -> Option<OffsetDateTime> {
        let owed = self.status.filter(|(status, _)| status.owes() && !self.cleared()).map(|(_, since)| since);
        match (self.open_since, owed) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// A payment came after the status and left nothing unpaid.
    fn cleared(&self) -> bool {
        let paid_after = |since| self.paid_at.is_some_and(|paid| paid >= since);
        self.open_since.is_none() && self.status.is_some_and(|(_, since)| paid_after(since))
    }
}

/// Evaluates access from the rows and keeps the answer for readers. What follows goes out with the change that led here: an
/// event where the level is another one, and a review for when time alone may make it so.
pub(super) async fn evaluate(
    tx: &mut TenantTx<'_>,
    thresholds: &Thresholds,
    now: Timestamp,
    mut changed: Changed,
) -> Result<Changed, Fault> {
    let (standing, was) = standing(tx).await?;
    let (org, level) = (tx.tenant().to_string(), standing.access(thresholds, now.moment()));
    sqlx::query!(
        "INSERT INTO app.access (org_id, level, unpaid_since, evaluated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id) DO UPDATE SET
           level = EXCLUDED.level, unpaid_since = EXCLUDED.unpaid_since, evaluated_at = EXCLUDED.evaluated_at",
        org,
        level.as_str(),
        standing.unpaid_since(),
        now.moment(),
    )
    .execute(tx.conn())
    .await?;
    if level != was {
        changed = changed.with_event(&AccessChanged { level, was })?;
    }
    match standing.changes_at(thresholds, now.moment()) {
        Some(at) => changed.with_later(Timestamp::new(at), "access", &BillingReviewAccess {}),
        None => Ok(changed),
    }
}

/// The facts, and the level they last led to. Of several subscriptions the newest living one counts, else the newest.
async fn standing(tx: &mut TenantTx<'_>) -> Result<(Standing, Access), Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        r#"SELECT s.status AS "status?", s.status_since AS "since?", a.level AS "was?",
             a.override_level AS "instead?", a.override_until AS "until?",
             (SELECT min(unpaid_since) FROM app.invoices WHERE org_id = $1 AND unpaid_since IS NOT NULL) AS open_since,
             (SELECT max(paid_at) FROM app.invoices WHERE org_id = $1) AS paid_at
           FROM (SELECT 1) AS one LEFT JOIN LATERAL (
             SELECT status, status_since FROM app.subscriptions WHERE org_id = $1
             ORDER BY status IN ('canceled', 'incomplete_expired'), last_created DESC, subscription_id LIMIT 1
           ) AS s ON true LEFT JOIN app.access a ON a.org_id = $1"#,
        org,
    )
    .fetch_one(tx.conn())
    .await?;
    let level = |text: Option<&str>| text.and_then(Access::parse);
    let overridden = level(row.instead.as_deref()).map(|level| Override { level, until: row.until });
    let status = row.status.as_deref().and_then(Status::parse).zip(row.since);
    let standing = Standing { status, open_since: row.open_since, paid_at: row.paid_at, overridden };
    Ok((standing, level(row.was.as_deref()).unwrap_or(Access::Full)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(n)
    }

    fn standing(status: Option<Status>, open: Option<i64>, paid: Option<i64>) -> Standing {
        Standing {
            status: status.map(|s| (s, day(100))),
            open_since: open.map(day),
            paid_at: paid.map(day),
            overridden: None,
        }
    }

    fn thresholds() -> Thresholds {
        Thresholds::new(&[(0, Access::Grace), (7, Access::Grace), (14, Access::ReadOnly), (30, Access::Suspended)])
    }

    #[test]
    fn access_follows_status_and_age() {
        use Access::{Full, Grace, ReadOnly, Suspended};
        let table = [
            // status, unpaid since, paid at, level on day 110, level on day 140
            (None, None, None, Full, Full),
            (None, Some(109), None, Grace, Suspended),
            (Some(Status::Active), None, None, Full, Full),
            (Some(Status::Active), Some(100), None, Grace, Suspended),
            (Some(Status::Active), Some(95), None, ReadOnly, Suspended),
            (Some(Status::Trialing), None, None, Full, Full),
            (Some(Status::PastDue), None, None, Grace, Suspended),
            (Some(Status::PastDue), None, Some(101), Full, Full),
            (Some(Status::PastDue), None, Some(99), Grace, Suspended),
            (Some(Status::Unpaid), None, None, ReadOnly, Suspended),
            (Some(Status::Unpaid), None, Some(101), Full, Full),
            (Some(Status::Incomplete), None, None, Suspended, Suspended),
            (Some(Status::Incomplete), None, Some(101), Full, Full),
            (Some(Status::Paused), None, None, ReadOnly, ReadOnly),
            (Some(Status::Canceled), None, Some(101), Suspended, Suspended),
            (Some(Status::IncompleteExpired), None, None, Suspended, Suspended),
        ];
        for (status, open, paid, early, late) in table {
            let standing = standing(status, open, paid);
            assert_eq!(standing.access(&thresholds(), day(110)), early, "{standing:?}");
            assert_eq!(standing.access(&thresholds(), day(140)), late, "{standing:?}");
        }
    }

    #[test]
    fn time_alone_moves_access_and_is_asked_for_at_each_threshold() {
        let owing = standing(Some(Status::Active), Some(100), None);
        let mut now = day(100);
        let mut reviews = Vec::new();
        while let Some(at) = owing.changes_at(&thresholds(), now) {
            now = at;
            reviews.push(((at - day(100)).whole_days(), owing.access(&thresholds(), at)));
        }
        assert_eq!(reviews, [(7, Access::Grace), (14, Access::ReadOnly), (30, Access::Suspended)]);
        assert_eq!(standing(Some(Status::Active), None, Some(1)).changes_at(&thresholds(), now), None);
        let strict = Thresholds::new(&[(0, Access::ReadOnly), (3, Access::Suspended)]);
        assert_eq!(owing.access(&strict, day(100)), Access::ReadOnly);
        assert_eq!(owing.access(&strict, day(103)), Access::Suspended);
    }

    #[test]
    fn an_override_goes_before_the_rule_until_it_ends() {
        let overridden = Some(Override { level: Access::Full, until: Some(day(140)) });
        let ended = Standing { overridden, ..standing(Some(Status::Canceled), None, None) };
        assert_eq!(ended.access(&thresholds(), day(139)), Access::Full);
        assert_eq!(ended.changes_at(&thresholds(), day(139)), Some(day(140)));
        assert_eq!(ended.access(&thresholds(), day(140)), Access::Suspended);
        let for_good = Standing { overridden: Some(Override { level: Access::Suspended, until: None }), ..ended };
        assert_eq!(for_good.access(&thresholds(), day(999)), Access::Suspended);
    }

    #[test]
    fn every_status_has_a_text_of_its_own() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Active"), None);
    }
}
