//! Invoices form their own lattice: open, then paid, never back. They never write a subscription's status.

use millrace::contract::payloads::InvoiceChange;
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::history::Change;
use super::stripe_events::STRIPE;

/// Merges one event's invoice into the tenant's. A failed payment starts the unpaid age; a payment ends it.
pub(super) async fn merge(tx: &mut TenantTx<'_>, object: &InvoiceChange) -> Result<Change, Fault> {
    let org = tx.tenant().to_string();
    let (status, unpaid_since, paid_at) = match object.succeeded {
        // A zero-amount invoice, such as a trial's first, is settled but proves no payment.
        true => ("paid", None, (object.amount_paid > 0).then(|| object.created.moment())),
        false => ("open", Some(object.created.moment()), None),
    };
    let row = sqlx::query!(
        "INSERT INTO app.invoices AS i
           (org_id, provider, invoice_id, subscription_id, status, amount_due, amount_paid, currency, unpaid_since, paid_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (org_id, provider, invoice_id) DO UPDATE SET
           subscription_id = coalesce(EXCLUDED.subscription_id, i.subscription_id),
           status = CASE WHEN 'paid' IN (i.status, EXCLUDED.status) THEN 'paid' ELSE 'open' END,
           amount_due = CASE WHEN i.status = 'paid' THEN i.amount_due ELSE EXCLUDED.amount_due END,
           amount_paid = greatest(i.amount_paid, EXCLUDED.amount_paid),
           unpaid_since = CASE WHEN 'paid' IN (i.status, EXCLUDED.status) THEN NULL
                               ELSE least(i.unpaid_since, EXCLUDED.unpaid_since) END,
           paid_at = least(i.paid_at, EXCLUDED.paid_at),
           updated_at = now()
         RETURNING status",
        org,
        STRIPE,
        object.id,
        object.subscription,
        status,
        object.amount_due,
        object.amount_paid,
        object.currency,
        unpaid_since,
        paid_at,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(if row.status == status { Change::Changed } else { Change::Stale })
}
