//! Subscription state from duplicated and reordered events.
//!
//! An event's state is taken when the stored one is not terminal and the event is newer: a later second, or the same
//! second and a higher rank (created < updated < deleted). Whole seconds alone never decide.

use millrace::contract::payloads::{SubscriptionChange, SubscriptionRank};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::access::Status;
use super::history::Change;
use super::stripe_events::STRIPE;

/// Merges one event's subscription into the tenant's.
pub(super) async fn merge(tx: &mut TenantTx<'_>, object: &SubscriptionChange) -> Result<Change, Fault> {
    // A status outside the eight is never stored: nothing changes, and the rejection is the alert.
    let status = match object.rank {
        SubscriptionRank::Deleted => Status::Canceled,
        _ => Status::parse(&object.status).ok_or(Fault::Reject { code: "unknown_subscription_status" })?,
    };
    let dated = object.period_end.is_some() || object.rank == SubscriptionRank::Deleted;
    if !dated && !known(tx, &object.id).await? {
        // Neither place of the period end has it: a shape this build does not know, and NULL is no date.
        return Err(Fault::Retry { code: "period_end_missing" });
    }
    if newer(tx, object, status).await? {
        return Ok(Change::Changed);
    }
    tie(tx, object, status).await
}

async fn known(tx: &mut TenantTx<'_>, id: &str) -> Result<bool, Fault> {
    let org = tx.tenant().to_string();
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM app.subscriptions
             WHERE org_id = $1 AND provider = $2 AND subscription_id = $3) AS "found!""#,
        org,
        STRIPE,
        id,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(found)
}

/// Inserts, or updates where the event is newer and the stored status not terminal.
async fn newer(tx: &mut TenantTx<'_>, object: &SubscriptionChange, status: Status) -> Result<bool, Fault> {
    let org = tx.tenant().to_string();
    let written = sqlx::query!(
        "INSERT INTO app.subscriptions AS s
           (org_id, provider, subscription_id, status, plan, period_end, status_since, last_created, last_rank)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
         ON CONFLICT (org_id, provider, subscription_id) DO UPDATE SET
           status = EXCLUDED.status,
           status_since = CASE WHEN s.status = EXCLUDED.status THEN s.status_since ELSE EXCLUDED.status_since END,
           plan = coalesce(EXCLUDED.plan, s.plan),
           period_end = coalesce(EXCLUDED.period_end, s.period_end),
           last_created = EXCLUDED.last_created,
           last_rank = EXCLUDED.last_rank,
           needs_refetch = false,
           updated_at = now()
         WHERE s.status NOT IN ('canceled', 'incomplete_expired')
           AND (EXCLUDED.last_created, EXCLUDED.last_rank) > (s.last_created, s.last_rank)",
        org,
        STRIPE,
        object.id,
        status.as_str(),
        object.plan,
        object.period_end.map(|t| t.moment()),
        object.created.moment(),
        object.rank as i16,
    )
    .execute(tx.conn())
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The event is not newer. Of the same second and rank but with another content, it marks the row: only the provider
/// knows which came last.
async fn tie(tx: &mut TenantTx<'_>, object: &SubscriptionChange, status: Status) -> Result<Change, Fault> {
    let org = tx.tenant().to_string();
    let marked = sqlx::query!(
        "UPDATE app.subscriptions SET needs_refetch = true, updated_at = now()
         WHERE org_id = $1 AND provider = $2 AND subscription_id = $3
           AND status NOT IN ('canceled', 'incomplete_expired') AND last_created = $4 AND last_rank = $5
           AND (status <> $6 OR plan IS DISTINCT FROM coalesce($7, plan)
                OR period_end IS DISTINCT FROM coalesce($8, period_end))",
        org,
        STRIPE,
        object.id,
        object.created.moment(),
        object.rank as i16,
        status.as_str(),
        object.plan,
        object.period_end.map(|t| t.moment()),
    )
    .execute(tx.conn())
    .await?;
    Ok(if marked.rows_affected() == 1 { Change::Ambiguous } else { Change::Stale })
}
