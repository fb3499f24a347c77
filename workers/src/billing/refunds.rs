//! Money that went back: kept at once, placed in the ledger when its invoice is known.

use millrace::contract::payloads::{RefundChange, RefundKind, StripeHead};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::fees;
use super::history::Change;
use super::stripe_events::STRIPE;

/// Kind of row of a refund that failed.
pub(super) const FAILED: &str = "refund_failed";

/// Kind of target in audit lines.
pub(super) fn target(object: &RefundChange) -> &'static str {
    match object.kind {
        RefundKind::Charge => "charge",
        RefundKind::CreditNote => "credit_note",
        RefundKind::Failed => "refund",
    }
}

/// Kind of row.
fn kind(object: &RefundChange) -> &'static str {
    match object.kind {
        RefundKind::Charge => "refund",
        RefundKind::CreditNote => "credit_note",
        RefundKind::Failed => FAILED,
    }
}

/// Keeps the step, and gives back its fee where the invoice is known and has one; a refund that failed takes it again.
pub(super) async fn take(tx: &mut TenantTx<'_>, head: &StripeHead, object: &RefundChange) -> Result<Change, Fault> {
    let moved = match object.kind {
        RefundKind::Failed => object.before > 0,
        // Not so a credit note whose money all shows in its charge.
        RefundKind::Charge | RefundKind::CreditNote => object.after > object.before,
    };
    if !moved {
        return Ok(Change::Stale);
    }
    if object.kind == RefundKind::Charge {
        link(tx, head, object).await?;
    }
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
        object.currency.to_ascii_uppercase(),
    )
    .execute(tx.conn())
    .await?;
    if let Some(invoice) = invoice_of(tx, object).await? {
        fees::settle(tx, &invoice).await?;
    }
    Ok(if kept.rows_affected() == 1 { Change::Changed } else { Change::Stale })
}

/// Links the charge to the tenant as its customer is: should a refund of it fail, the provider names the charge and nobody
/// else.
async fn link(tx: &mut TenantTx<'_>, head: &StripeHead, object: &RefundChange) -> Result<(), Fault> {
    sqlx::query!(
        "SELECT engine.link_customer($1, $2, $3, $4)",
        STRIPE,
        head.account.as_deref().unwrap_or_default(),
        head.livemode.unwrap_or(false),
        object.id,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(())
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
