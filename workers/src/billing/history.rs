//! One row for each event applied, so that people see what moved a tenant's billing, and double effects would show.

use millrace::contract::payloads::StripeHead;
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

/// What an event did to the mirrored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was newer, or first.
    Changed,
    /// The state was newer, or final.
    Stale,
    /// Same second, same rank, other content: the provider has to be asked.
    Ambiguous,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Stale => "stale",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Adds the row.
pub(super) async fn note(tx: &mut TenantTx<'_>, head: &StripeHead, object: &str, change: Change) -> Result<(), Fault> {
    let (org, id) = (tx.tenant().to_string(), tx.new_id());
    sqlx::query!(
        "INSERT INTO app.billing_history (org_id, id, event_id, event_type, object_id, change)
         VALUES ($1, $2, $3, $4, $5, $6)",
        org,
        id,
        head.id,
        head.event_type,
        object,
        change.as_str(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
