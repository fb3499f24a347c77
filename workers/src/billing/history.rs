//! One row for each event applied, so that people see what moved a tenant's billing, and double effects would show.

use millrace::contract::Timestamp;
use millrace::db::TenantTx;
use millrace::pipeline::Fault;

use super::access::Status;

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

/// What a subscription's event said about its status, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: Status,
    pub(super) at: Timestamp,
    pub(super) rank: i16,
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'m> {
    pub(super) event_id: &'m str,
    pub(super) event_type: &'m str,
    pub(super) object: &'m str,
    pub(super) change: Change,
    /// For events of subscriptions.
    pub(super) said: Option<Said>,
}

/// Adds the row.
pub(super) async fn note(tx: &mut TenantTx<'_>, entry: Entry<'_>) -> Result<(), Fault> {
    let (org, id) = (tx.tenant().to_string(), tx.new_id());
    sqlx::query!(
        "INSERT INTO app.billing_history (org_id, id, event_id, event_type, object_id, change, status, happened_at, rank)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        org,
        id,
        entry.event_id,
        entry.event_type,
        entry.object,
        entry.change.as_str(),
        entry.said.map(|said| said.status.as_str()),
        entry.said.map(|said| said.at.moment()),
        entry.said.map(|said| said.rank),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
