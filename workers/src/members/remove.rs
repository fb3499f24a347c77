//! `members.remove`

use millrace::contract::payloads::{MemberRemoved, MembersRemove};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{MEMBER, METRIC};
use crate::limits;

/// Denies a user from now on. What stays is a tag that nobody can read the person from.
#[derive(Debug, Clone, Copy)]
pub struct RemoveMember;

impl Handler for RemoveMember {
    type Payload = MembersRemove;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<MembersRemove>) -> Result<Changed, Fault> {
        let (org, user_id) = (tx.tenant().to_string(), &message.payload.user_id);
        let version =
            sqlx::query_scalar!("SELECT version FROM app.members WHERE org_id = $1 AND user_id = $2", org, user_id)
                .fetch_optional(tx.conn())
                .await?;
        if message.expected_version.is_some_and(|expected| version != Some(expected)) {
            return Err(Fault::Reject { code: "version_conflict" });
        }
        let buried = sqlx::query!(
            "INSERT INTO app.removed_members (org_id, subject) SELECT $1, app.subject_tag($2) ON CONFLICT DO NOTHING",
            org,
            user_id,
        )
        .execute(tx.conn())
        .await?;
        if buried.rows_affected() == 0 {
            return Err(Fault::Reject { code: "member_removed" });
        }
        let deleted = sqlx::query!("DELETE FROM app.members WHERE org_id = $1 AND user_id = $2", org, user_id)
            .execute(tx.conn())
            .await?;
        if deleted.rows_affected() == 1 {
            limits::give_back(tx, METRIC, 1).await?;
        }
        Changed::person(MEMBER, user_id).with_event(&MemberRemoved { user_id: user_id.clone() })
    }
}
