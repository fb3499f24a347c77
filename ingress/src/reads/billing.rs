//! `GET /api/billing`

use millrace::db::ReadTx;
use serde_json::{Value, json};

use super::{ReadFault, moment};

/// Most subscriptions shown, newest first; a tenant has one or two.
const MOST_SUBSCRIPTIONS: i64 = 100;
/// Most rows of the fee ledger shown, newest first.
const MOST_FEES: i64 = 100;

/// Plan, access and the mirror of the provider's subscriptions, all of one moment.
pub(super) async fn read(tx: &mut ReadTx) -> Result<Value, ReadFault> {
    let org = tx.tenant().to_string();
    let state = sqlx::query!(
        r#"SELECT t.plan, a.level AS "level?", a.unpaid_since AS "unpaid_since?"
           FROM app.tenants t LEFT JOIN app.access a ON a.org_id = t.org_id WHERE t.org_id = $1"#,
        org,
    )
    .fetch_one(tx.conn())
    .await?;
    let subscriptions = sqlx::query!(
        "SELECT subscription_id, status, plan, period_end FROM app.subscriptions WHERE org_id = $1
         ORDER BY created_at DESC, subscription_id LIMIT $2",
        org,
        MOST_SUBSCRIPTIONS,
    )
    .fetch_all(tx.conn())
    .await?;
    let shape = |id: &str, status: &str, plan: Option<&str>, end| json!({ "id": id, "status": status, "plan": plan, "period_end": end });
    let subscriptions: Vec<Value> = subscriptions
        .iter()
        .map(|row| shape(&row.subscription_id, &row.status, row.plan.as_deref(), row.period_end.map(moment)))
        .collect();
    Ok(json!({
        "plan": state.plan,
        // Without an invoice or a subscription nothing holds a tenant back.
        "access": state.level.as_deref().unwrap_or("full"),
        "unpaid_since": state.unpaid_since.map(moment),
        "subscriptions": subscriptions,
        "fees": fees(tx).await?,
    }))
}

/// The newest rows of the ledger. Amounts are whole minor units.
async fn fees(tx: &mut ReadTx) -> Result<Vec<Value>, ReadFault> {
    let org = tx.tenant().to_string();
    let rows = sqlx::query!(
        "SELECT source_id, kind, invoice_id, amount, fee, currency, created_at FROM app.fee_ledger WHERE org_id = $1
         ORDER BY created_at DESC, kind, source_id LIMIT $2",
        org,
        MOST_FEES,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        json!({ "source": row.source_id, "kind": row.kind, "invoice": row.invoice_id, "amount": row.amount,
                "fee": row.fee, "currency": row.currency, "created_at": moment(row.created_at) })
    });
    Ok(rows.collect())
}
