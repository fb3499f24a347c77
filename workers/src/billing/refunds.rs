//! Money that went back: kept at once, placed in the ledger when its invoice is known.

use millrace::contract::Currency;
use millrace::contract::payloads::{RefundChange, RefundKind};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::fees;
use super::history::Change;

/// Kind of target in audit lines.
pub(super) fn target(object: &RefundChange) -> &'static str {
    match object.kind {
        RefundKind::Charge => "charge",
        RefundKind::CreditNote => "credit_note",
    }
}

/// Kind of row.
fn kind(object: &RefundChange) -> &'static str {
    match object.kind {
        RefundKind::Charge => "refund",
        RefundKind::CreditNote => "credit_note",
    }
}

/// Keeps the step, and gives back its fee where the invoice is known and has one.
pub(super) async fn take(tx: &mut TenantTx<'_>, object: &RefundChange) -> Result<Change, Fault> {
    // A credit note whose money all shows in its charge, or a refund that failed and took its amount back.
    if object.after <= object.before {
        return Ok(Change::Stale);
    }
    let currency = Currency::parse(&object.currency).map_err(|_| Fault::Poison { code: "currency_unknown" })?;
    let org = tx.tenant().to_string();
    let kept = sqlx::query!(
        "INSERT INTO app.refunds
           (org_id, source_id, kind, invoice_id, payment_ids, refunded_before, refunded_after, currency)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, source_id, kind) DO NOTHING",
        org,
        object.step(),
        kind(object),
        object.invoice,
        &object.payments,
        object.before,
        object.after,
        currency.code(),
    )
    .execute(tx.conn())
    .await?;
    if let Some(invoice) = invoice_of(tx, object).await? {
        fees::settle(tx, &invoice).await?;
    }
    Ok(if kept.rows_affected() == 1 { Change::Changed } else { Change::Stale })
}

/// The invoice that the object names, or the one that named its payment.
async fn invoice_of(tx: &mut TenantTx<'_>, object: &RefundChange) -> Result<Option<String>, Fault> {
    if object.invoice.is_some() {
        return Ok(object.invoice.clone());
    }
    let org = tx.tenant().to_string();
    let invoice = sqlx::query_scalar!(
        "SELECT invoice_id FROM app.invoice_payments WHERE org_id = $1 AND payment_id = ANY ($2)
         ORDER BY invoice_id LIMIT 1",
        org,
        &object.payments,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(invoice)
}
