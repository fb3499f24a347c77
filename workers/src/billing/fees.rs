//! The fee ledger: one row when an invoice is paid, one negative row for each step of what went back, and one for each refund
//! that failed.
//!
//! What all rows of an invoice come to is a function of what is known of it, so duplicates and every order end in the same sum.

use millrace::contract::Currency;
use millrace::contract::fees::{FeeSchedule, Moved, placed};
use millrace::contract::payloads::{BillingChargeFee, InvoiceChange, InvoiceStatus};
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::refunds;
use super::stripe_events::STRIPE;

/// A currency that this build does not know.
const CURRENCY_UNKNOWN: &str = "currency_unknown";

/// Takes the fee of an invoice that is paid in full; an invoice over nothing brought nothing in. A fee that cannot be computed
/// is set aside, and taken by the message that is returned: the invoice itself counts all the same.
pub(super) async fn charge(
    tx: &mut TenantTx<'_>,
    schedule: &FeeSchedule,
    invoice: &InvoiceChange,
) -> Result<Option<BillingChargeFee>, Fault> {
    remember_payments(tx, invoice).await?;
    let paid = invoice.status == InvoiceStatus::Paid && invoice.amount_paid >= invoice.amount_due;
    if paid && invoice.amount_paid > 0 {
        match Currency::parse(&invoice.currency) {
            Ok(currency) => take(tx, schedule, &invoice.id, invoice.amount_paid, currency).await?,
            // A guess could not be taken back.
            Err(_) => return set_aside(tx, &invoice.id).await,
        }
    }
    settle(tx, &invoice.id).await?;
    Ok(None)
}

/// Takes the fee of an invoice that was set aside, and gives back what was refunded meanwhile.
pub(super) async fn charge_set_aside(
    tx: &mut TenantTx<'_>,
    schedule: &FeeSchedule,
    invoice: &str,
) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT amount_paid, currency FROM app.invoices
         WHERE org_id = $1 AND provider = $2 AND invoice_id = $3 AND fee_set_aside IS NOT NULL",
        org,
        STRIPE,
        invoice,
    )
    .fetch_optional(tx.conn())
    .await?;
    let row = row.ok_or(Fault::Reject { code: "fee_not_set_aside" })?;
    // An operator may redrive the dead letter with a build that knows it.
    let currency = Currency::parse(&row.currency).map_err(|_| Fault::Poison { code: CURRENCY_UNKNOWN })?;
    take(tx, schedule, invoice, row.amount_paid, currency).await?;
    sqlx::query!(
        "UPDATE app.invoices SET fee_set_aside = NULL WHERE org_id = $1 AND provider = $2 AND invoice_id = $3",
        org,
        STRIPE,
        invoice,
    )
    .execute(tx.conn())
    .await?;
    settle(tx, invoice).await
}

/// Marks the invoice. Whoever finds it marked leaves it at that: one message asks for the fee.
async fn set_aside(tx: &mut TenantTx<'_>, invoice: &str) -> Result<Option<BillingChargeFee>, Fault> {
    let org = tx.tenant().to_string();
    let marked = sqlx::query!(
        "UPDATE app.invoices SET fee_set_aside = $4
         WHERE org_id = $1 AND provider = $2 AND invoice_id = $3 AND fee_set_aside IS NULL",
        org,
        STRIPE,
        invoice,
        CURRENCY_UNKNOWN,
    )
    .execute(tx.conn())
    .await?;
    Ok((marked.rows_affected() == 1).then(|| BillingChargeFee { invoice: invoice.to_owned() }))
}

async fn take(
    tx: &mut TenantTx<'_>,
    schedule: &FeeSchedule,
    invoice: &str,
    amount: i64,
    currency: Currency,
) -> Result<(), Fault> {
    let org = tx.tenant().to_string();
    sqlx::query!(
        "INSERT INTO app.fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency, basis_points, fixed)
         VALUES ($1, $2, 'fee', $2, $3, $4, $5, $6, $7) ON CONFLICT (org_id, source_id, kind) DO NOTHING",
        org,
        invoice,
        amount,
        schedule.fee(amount, currency),
        currency.code(),
        i32::from(schedule.share().get()),
        schedule.fixed(currency),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
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

/// What is known of an invoice's money that went back or came again, beside its fee.
struct Step {
    source_id: String,
    kind: String,
    refunded_before: i64,
    refunded_after: i64,
    amount: i64,
    fee: i64,
    currency: String,
    placed: bool,
}

impl Step {
    fn moved(&self) -> Moved {
        match self.kind == refunds::FAILED {
            true => Moved::Again(self.refunded_before),
            false => Moved::Back { before: self.refunded_before, after: self.refunded_after },
        }
    }
}

/// Gives back the fee of every step that belongs to the invoice and has no row yet, or takes it again; without the invoice's
/// own fee they wait for it.
pub(super) async fn settle(tx: &mut TenantTx<'_>, invoice: &str) -> Result<(), Fault> {
    let (old, new): (Vec<Step>, Vec<Step>) = steps(tx, invoice).await?.into_iter().partition(|step| step.placed);
    let Some(first) = new.first() else { return Ok(()) };
    let moves = |steps: &[Step]| steps.iter().map(Step::moved).collect::<Vec<Moved>>();
    let org = tx.tenant().to_string();
    for (step, back) in new.iter().zip(placed(first.fee, first.amount, &moves(&old), &moves(&new))) {
        sqlx::query!(
            "INSERT INTO app.fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            org,
            step.source_id,
            step.kind,
            invoice,
            step.moved().amount(),
            -back,
            step.currency,
        )
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

async fn steps(tx: &mut TenantTx<'_>, invoice: &str) -> Result<Vec<Step>, Fault> {
    let org = tx.tenant().to_string();
    let steps = sqlx::query_as!(
        Step,
        r#"SELECT r.source_id, r.kind, r.refunded_before, r.refunded_after, f.amount, f.fee, f.currency,
             EXISTS (SELECT FROM app.fee_ledger g
               WHERE g.org_id = $1 AND g.source_id = r.source_id AND g.kind = r.kind) AS "placed!"
           FROM app.fee_ledger f JOIN app.refunds r ON r.org_id = $1 AND r.currency = f.currency AND (
             r.invoice_id = $2 OR r.payment_ids && ARRAY(
               SELECT p.payment_id FROM app.invoice_payments p WHERE p.org_id = $1 AND p.invoice_id = $2)::text[])
           WHERE f.org_id = $1 AND f.source_id = $2 AND f.kind = 'fee'
           ORDER BY r.source_id, r.kind"#,
        org,
        invoice,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(steps)
}
