//! The fee ledger: one row when an invoice is paid, one negative row for each step of what went back.
//!
//! Each row is a function of its own event and of the invoice's fee, so duplicates and every order end in the same rows.

use millrace::contract::Currency;
use millrace::contract::fees::{FeeSchedule, returned};
use millrace::contract::payloads::{InvoiceChange, InvoiceStatus};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

/// Takes the fee of an invoice that is paid in full; an invoice over nothing brought nothing in.
pub(super) async fn charge(
    tx: &mut TenantTx<'_>,
    schedule: &FeeSchedule,
    invoice: &InvoiceChange,
) -> Result<(), Fault> {
    remember_payments(tx, invoice).await?;
    let paid = invoice.status == InvoiceStatus::Paid && invoice.amount_paid >= invoice.amount_due;
    if paid && invoice.amount_paid > 0 {
        // A build that knows the currency can take the dead letter up again; a guess could not be taken back.
        let currency = Currency::parse(&invoice.currency).map_err(|_| Fault::Poison { code: "currency_unknown" })?;
        let org = tx.tenant().to_string();
        sqlx::query!(
            "INSERT INTO app.fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency, basis_points, fixed)
             VALUES ($1, $2, 'fee', $2, $3, $4, $5, $6, $7) ON CONFLICT (org_id, source_id, kind) DO NOTHING",
            org,
            invoice.id,
            invoice.amount_paid,
            schedule.fee(invoice.amount_paid, currency),
            currency.code(),
            i32::from(schedule.share().get()),
            schedule.fixed(currency),
        )
        .execute(tx.conn())
        .await?;
    }
    settle(tx, &invoice.id).await
}

async fn remember_payments(tx: &mut TenantTx<'_>, invoice: &InvoiceChange) -> Result<(), Fault> {
    if invoice.payments.is_empty() {
        return Ok(());
    }
    let org = tx.tenant().to_string();
    sqlx::query!(
        "INSERT INTO app.invoice_payments (org_id, payment_id, invoice_id)
         SELECT DISTINCT $1, payment, $2 FROM unnest($3::text[]) AS payment
         ON CONFLICT (org_id, payment_id) DO NOTHING",
        org,
        invoice.id,
        &invoice.payments,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Gives back the fee of every step that belongs to the invoice and has no row yet; without the invoice's own fee they
/// wait for it.
pub(super) async fn settle(tx: &mut TenantTx<'_>, invoice: &str) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    let steps = sqlx::query!(
        r#"SELECT r.source_id, r.kind, r.refunded_before, r.refunded_after, f.amount, f.fee, f.currency,
             (SELECT coalesce(-sum(g.fee), 0)::bigint FROM app.fee_ledger g
              WHERE g.org_id = $1 AND g.invoice_id = $2 AND g.kind <> 'fee') AS "given!"
           FROM app.fee_ledger f JOIN app.refunds r ON r.org_id = $1 AND r.currency = f.currency AND (
             r.invoice_id = $2 OR r.payment_ids && ARRAY(
               SELECT p.payment_id FROM app.invoice_payments p WHERE p.org_id = $1 AND p.invoice_id = $2)::text[])
           WHERE f.org_id = $1 AND f.source_id = $2 AND f.kind = 'fee' AND NOT EXISTS (
             SELECT FROM app.fee_ledger g WHERE g.org_id = $1 AND g.source_id = r.source_id AND g.kind = r.kind)
           ORDER BY r.source_id, r.kind"#,
        org,
        invoice,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut left = steps.first().map_or(0, |step| step.fee - step.given);
    for step in steps {
        // A provider whose refunds exceed what was paid gets no more than the fee back.
        let back = returned(step.fee, step.amount, step.refunded_before, step.refunded_after).min(left);
        left -= back;
        sqlx::query!(
            "INSERT INTO app.fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            org,
            step.source_id,
            step.kind,
            invoice,
            step.refunded_after - step.refunded_before,
            -back,
            step.currency,
        )
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}
