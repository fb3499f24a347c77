//! Access: a pure function of (status or unknown, age of the earliest unpaid invoice, now). Events move its inputs;
//! none grants or revokes anything directly.

use millrace::contract::Timestamp;
use millrace::db::TenantTx;
use millrace::pipeline::Fault;
use time::{Duration, OffsetDateTime};

/// Ages of the earliest unpaid invoice from which the next stricter level applies. Below the first it is grace:
/// access is not cut at the first failed payment.
const READ_ONLY_FROM: Duration = Duration::days(14);
const SUSPENDED_FROM: Duration = Duration::days(30);

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

    /// Counts as unpaid from its own event on, until a payment leaves nothing unpaid.
    fn owes(self) -> bool {
        matches!(self, Self::PastDue | Self::Unpaid | Self::Incomplete)
    }
}

/// What a tenant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Everything.
    Full,
    /// Everything, with a flag: a payment is due.
    Grace,
    /// Look, pay, export, leave.
    ReadOnly,
    /// Pay, export, leave.
    Suspended,
}

impl Access {
    /// The text in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Grace => "grace",
            Self::ReadOnly => "read_only",
            Self::Suspended => "suspended",
        }
    }

    /// The pure function. Every state and unknown has its own arm.
    pub fn of(standing: &Standing, now: OffsetDateTime) -> Self {
        let by_age = match standing.unpaid_since() {
            None => Self::Full,
            Some(since) if now - since >= SUSPENDED_FROM => Self::Suspended,
            Some(since) if now - since >= READ_ONLY_FROM => Self::ReadOnly,
            Some(_) => Self::Grace,
        };
        let cleared = standing.cleared();
        match standing.status.map(|(status, _)| status) {
            None | Some(Status::Active | Status::Trialing | Status::PastDue) => by_age,
            Some(Status::Unpaid) if cleared => Self::Full,
            Some(Status::Unpaid) => by_age.max(Self::ReadOnly),
            Some(Status::Incomplete) if cleared => Self::Full,
            Some(Status::Incomplete) => Self::Suspended,
            Some(Status::Paused) => by_age.max(Self::ReadOnly),
            Some(Status::Canceled | Status::IncompleteExpired) => Self::Suspended,
        }
    }
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
}

impl Standing {
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

/// Evaluates access from the rows and keeps the answer for readers.
pub(super) async fn evaluate(tx: &mut TenantTx<'_>, now: Timestamp) -> Result<(), Fault> {
    let standing = standing(tx).await?;
    let org = tx.tenant().to_string();
    sqlx::query!(
        "INSERT INTO app.access (org_id, level, unpaid_since, evaluated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id) DO UPDATE SET
           level = EXCLUDED.level, unpaid_since = EXCLUDED.unpaid_since, evaluated_at = EXCLUDED.evaluated_at",
        org,
        Access::of(&standing, now.moment()).as_str(),
        standing.unpaid_since(),
        now.moment(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Of several subscriptions the newest living one counts, else the newest.
async fn standing(tx: &mut TenantTx<'_>) -> Result<Standing, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        r#"SELECT s.status AS "status?", s.status_since AS "since?",
             (SELECT min(unpaid_since) FROM app.invoices WHERE org_id = $1 AND unpaid_since IS NOT NULL) AS open_since,
             (SELECT max(paid_at) FROM app.invoices WHERE org_id = $1) AS paid_at
           FROM (SELECT 1) AS one LEFT JOIN LATERAL (
             SELECT status, status_since FROM app.subscriptions WHERE org_id = $1
             ORDER BY status IN ('canceled', 'incomplete_expired'), last_created DESC, subscription_id LIMIT 1
           ) AS s ON true"#,
        org,
    )
    .fetch_one(tx.conn())
    .await?;
    let status = row.status.as_deref().and_then(Status::parse).zip(row.since);
    Ok(Standing { status, open_since: row.open_since, paid_at: row.paid_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(n)
    }

    fn standing(status: Option<Status>, open: Option<i64>, paid: Option<i64>) -> Standing {
        Standing { status: status.map(|s| (s, day(100))), open_since: open.map(day), paid_at: paid.map(day) }
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
            assert_eq!(Access::of(&standing, day(110)), early, "{standing:?}");
            assert_eq!(Access::of(&standing, day(140)), late, "{standing:?}");
        }
    }

    #[test]
    fn every_status_has_a_text_of_its_own() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Active"), None);
    }
}
