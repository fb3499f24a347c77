//! The mirror of the provider's subscriptions: reads a row, merges what was said about it, writes it back.

use millrace::contract::Timestamp;
use millrace::contract::payloads::{BillingRefetched, SubscriptionChange, SubscriptionRank};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::access::Status;
use super::history::{Change, Said};
use super::merge::{self, Seen, Source, State, Stored};

/// What a merge did.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) change: Change,
    pub(super) said: Option<Said>,
    /// The tie that the provider has to be asked about.
    pub(super) tie: Option<i32>,
    /// It came late, or beside an answer of the provider: the time since which the status holds is to be found anew.
    pub(super) out_of_order: bool,
}

impl Merged {
    /// What merging something else than a subscription did.
    pub(super) fn of(change: Change) -> Self {
        Self { change, said: None, tie: None, out_of_order: false }
    }
}

/// Merges one event's subscription into the tenant's.
pub(super) async fn event(tx: &mut TenantTx<'_>, provider: &str, object: &SubscriptionChange) -> Result<Merged, Fault> {
    // A status outside the eight is never stored: nothing changes, and the rejection is the alert.
    let status = match object.rank {
        SubscriptionRank::Deleted => Status::Canceled,
        _ => known(&object.status)?,
    };
    let stored = lock(tx, provider, &object.id).await?;
    if stored.is_none() && object.period_end.is_none() && object.rank != SubscriptionRank::Deleted {
        // Neither place of the period end has it: a shape this build does not know, and NULL is no date.
        return Err(Fault::Retry { code: "period_end_missing" });
    }
    let state = State { status, plan: object.plan.clone(), period_end: object.period_end.map(Timestamp::moment) };
    let rank = object.rank as i16;
    let (row, change) = merge::event(stored.as_ref(), Seen { state, created: object.created.moment(), rank });
    if let Some(row) = &row {
        write(tx, provider, &object.id, row).await?;
    }
    let fetched = stored.is_some_and(|stored| stored.source == Source::Refetch);
    Ok(Merged {
        change,
        said: Some(Said { status, at: object.created, rank }),
        tie: row.filter(|_| change == Change::Ambiguous).map(|row| row.ties),
        out_of_order: fetched || change != Change::Changed,
    })
}

/// Merges what the provider said when it was asked.
pub(super) async fn answer(tx: &mut TenantTx<'_>, fetched: &BillingRefetched) -> Result<Merged, Fault> {
    let (provider, id) = (&fetched.provider, &fetched.subscription);
    let status = known(&fetched.status)?;
    let stored = lock(tx, provider, id).await?.ok_or(Fault::Reject { code: "subscription_unknown" })?;
    let period_end = fetched.period_ends().map(Timestamp::moment);
    let (row, change) = merge::answer(&stored, fetched.tie, State { status, plan: fetched.plan.clone(), period_end });
    if let Some(row) = &row {
        write(tx, provider, id, row).await?;
    }
    Ok(Merged { change, said: None, tie: None, out_of_order: true })
}

fn known(status: &str) -> Result<Status, Fault> {
    Status::parse(status).ok_or(Fault::Reject { code: "unknown_subscription_status" })
}

async fn lock(tx: &mut TenantTx<'_>, provider: &str, id: &str) -> Result<Option<Stored>, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT status, plan, period_end, status_since, last_created, last_rank, source, needs_refetch, ties
         FROM app.subscriptions WHERE org_id = $1 AND provider = $2 AND subscription_id = $3 FOR UPDATE",
        org,
        provider,
        id,
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        // The table's own check says that there is no other.
        let status = Status::parse(&row.status).ok_or(Fault::Poison { code: "stored_status_unknown" })?;
        Ok(Stored {
            state: State { status, plan: row.plan, period_end: row.period_end },
            since: row.status_since,
            last_created: row.last_created,
            last_rank: row.last_rank,
            source: Source::parse(&row.source),
            needs_refetch: row.needs_refetch,
            ties: row.ties,
        })
    })
    .transpose()
}

async fn write(tx: &mut TenantTx<'_>, provider: &str, id: &str, row: &Stored) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "INSERT INTO app.subscriptions
           (org_id, provider, subscription_id, status, plan, period_end, status_since, last_created, last_rank, source,
            needs_refetch, ties)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (org_id, provider, subscription_id) DO UPDATE SET
           status = EXCLUDED.status, plan = EXCLUDED.plan, period_end = EXCLUDED.period_end,
           status_since = EXCLUDED.status_since, last_created = EXCLUDED.last_created, last_rank = EXCLUDED.last_rank,
           source = EXCLUDED.source, needs_refetch = EXCLUDED.needs_refetch, ties = EXCLUDED.ties, updated_at = now()",
        org,
        provider,
        id,
        row.state.status.as_str(),
        row.state.plan,
        row.state.period_end,
        row.since,
        row.last_created,
        row.last_rank,
        row.source.as_str(),
        row.needs_refetch,
        row.ties,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Finds the time since which the status holds from everything that events have said: the first of those that say so with
/// no later one that says otherwise. So it is the same in whatever order they came.
pub(super) async fn restate(tx: &mut TenantTx<'_>, provider: &str, id: &str) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "UPDATE app.subscriptions s SET status_since = coalesce((
           SELECT min(h.happened_at) FROM app.billing_history h
           WHERE h.org_id = s.org_id AND h.object_id = s.subscription_id AND h.status = s.status
             AND NOT EXISTS (SELECT 1 FROM app.billing_history o
               WHERE o.org_id = h.org_id AND o.object_id = h.object_id AND o.status <> s.status
                 AND (o.happened_at, o.rank) > (h.happened_at, h.rank))), s.status_since)
         WHERE s.org_id = $1 AND s.provider = $2 AND s.subscription_id = $3",
        org,
        provider,
        id,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
