//! Invoices form their own lattice: draft < open < uncollectible < void < paid. Each event moves its invoice up or leaves it
//! where it is, so the order of events does not matter. They never write a subscription's status.

use millrace::contract::payloads::InvoiceChange;
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::history::Change;
use super::stripe_events::STRIPE;

/// Merges one event's invoice into the tenant's. A failed payment starts the unpaid age; a payment, however it was made, or
/// the withdrawal of the invoice ends it. What it shows of an amount counts where its state is further, or as far and newer.
pub(super) async fn merge(tx: &mut TenantTx<'_>, object: &InvoiceChange) -> Result<Change, Fault> {
    let (org, at) = (tx.tenant().to_string(), object.created.moment());
    let unpaid_since = (object.failed && !object.status.is_settled()).then_some(at);
    // A zero-amount invoice, such as a trial's first, is settled but proves no payment.
    let paid_at = (object.succeeded && object.amount_paid > 0).then_some(at);
    let rank = object.status as i16;
    let row = sqlx::query!(
        "INSERT INTO app.invoices AS i
           (org_id, provider, invoice_id, subscription_id, status, rank, state_created, amount_due, amount_paid, currency,
            unpaid_since, paid_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (org_id, provider, invoice_id) DO UPDATE SET
           subscription_id = coalesce(EXCLUDED.subscription_id, i.subscription_id),
           status = CASE WHEN EXCLUDED.rank > i.rank THEN EXCLUDED.status ELSE i.status END,
           amount_due = CASE WHEN (EXCLUDED.rank, EXCLUDED.state_created, EXCLUDED.amount_due)
                               > (i.rank, i.state_created, i.amount_due) THEN EXCLUDED.amount_due ELSE i.amount_due END,
           state_created = CASE WHEN EXCLUDED.rank > i.rank THEN EXCLUDED.state_created
                                WHEN EXCLUDED.rank = i.rank THEN greatest(i.state_created, EXCLUDED.state_created)
                                ELSE i.state_created END,
           rank = greatest(i.rank, EXCLUDED.rank),
           amount_paid = greatest(i.amount_paid, EXCLUDED.amount_paid),
           unpaid_since = CASE WHEN greatest(i.rank, EXCLUDED.rank) >= 3 THEN NULL
                               ELSE least(i.unpaid_since, EXCLUDED.unpaid_since) END,
           paid_at = least(i.paid_at, EXCLUDED.paid_at),
           updated_at = now()
         RETURNING rank",
        org,
        STRIPE,
        object.id,
        object.subscription,
        object.status.as_str(),
        rank,
        at,
        object.amount_due,
        object.amount_paid,
        object.currency,
        unpaid_since,
        paid_at,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(if row.rank == rank { Change::Changed } else { Change::Stale })
}
