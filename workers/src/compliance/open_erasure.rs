//! An erasure that is planned or under way, as its row says.

use millrace::db::TenantTx;
use millrace::pipeline::Fault;
use time::OffsetDateTime;
use uuid::Uuid;

/// An erasure that is not over.
#[derive(Debug)]
pub(super) struct OpenErasure {
    pub(super) id: Uuid,
    pub(super) what: What,
    pub(super) asked_at: OffsetDateTime,
}

/// What is to be erased, and how far that is.
#[derive(Debug)]
pub(super) enum What {
    /// A person, all at once.
    Subject { user_id: String, pseudonym: Uuid },
    /// The tenant, which takes many steps; `begun` since the first of them.
    Org { begun: bool },
}

/// Reads it; one that is over is refused with what became of it.
pub(super) async fn open(tx: &mut TenantTx<'_>, id: Uuid) -> Result<OpenErasure, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT scope, subject, pseudonym, state, created_at FROM app.erasures WHERE org_id = $1 AND id = $2",
        org,
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    let row = row.ok_or(Fault::Reject { code: "erasure_not_found" })?;
    let what = match (row.state.as_str(), row.scope.as_str(), row.subject, row.pseudonym) {
        ("canceled", ..) => return Err(Fault::Reject { code: "erasure_canceled" }),
        ("planned", "subject", Some(user_id), Some(pseudonym)) => What::Subject { user_id, pseudonym },
        ("planned", "org", ..) => What::Org { begun: false },
        ("executing", "org", ..) => What::Org { begun: true },
        _ => return Err(Fault::Reject { code: "erasure_executed" }),
    };
    Ok(OpenErasure { id, what, asked_at: row.created_at })
}
