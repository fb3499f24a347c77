//! `members.set_role`

use millrace::contract::Role;
use millrace::contract::payloads::{MemberRoleSet, MembersSetRole};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::{MEMBER, METRIC};
use crate::limits;

/// Bounds a user's role. A demotion also ends the tokens that were issued before it.
#[derive(Debug, Clone, Copy)]
pub struct SetMemberRole;

impl Handler for SetMemberRole {
    type Payload = MembersSetRole;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<MembersSetRole>) -> Result<Changed, Fault> {
        let MembersSetRole { user_id, role } = &message.payload;
        if tx.principal().role.is_some_and(|own| *role > own) {
            return Err(Fault::Deny { rule: "grant_above_own_role" });
        }
        if is_removed(tx, user_id).await? {
            return Err(Fault::Reject { code: "member_removed" });
        }
        let before = before(tx, user_id, message.expected_version).await?;
        if before.is_none() {
            limits::take(tx, METRIC, 1).await?;
        }
        // Without a row the user had whatever its token says, which this may be less than.
        let lowers = before.is_none_or(|before| *role < before) && *role < Role::Admin;
        let epoch = lowers.then(|| message.decided_at.moment());
        let (org, text) = (tx.tenant().to_string(), role.as_str());
        sqlx::query!(
            "INSERT INTO app.members AS m (org_id, user_id, role, session_epoch) VALUES ($1, $2, $3, $4)
             ON CONFLICT (org_id, user_id) DO UPDATE SET version = m.version + 1, role = EXCLUDED.role,
               session_epoch = coalesce(EXCLUDED.session_epoch, m.session_epoch), updated_at = now()",
            org,
            user_id,
            text,
            epoch,
        )
        .execute(tx.conn())
        .await?;
        let event = MemberRoleSet { user_id: user_id.clone(), role: text };
        Changed::person(MEMBER, user_id).with_event(&event)
    }
}

async fn is_removed(tx: &mut TenantTx<'_>, user_id: &str) -> Result<bool, Fault> {
    let org = tx.tenant().to_string();
    let removed = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM app.removed_members
             WHERE org_id = $1 AND subject = (SELECT app.subject_tag($2))) AS "removed!""#,
        org,
        user_id,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(removed)
}

/// The role in the row, locked; `None` where there is none.
async fn before(tx: &mut TenantTx<'_>, user_id: &str, expected_version: Option<i64>) -> Result<Option<Role>, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT role, version FROM app.members WHERE org_id = $1 AND user_id = $2 FOR UPDATE",
        org,
        user_id
    )
    .fetch_optional(tx.conn())
    .await?;
    match (&row, expected_version) {
        (Some(row), Some(expected)) if row.version != expected => Err(Fault::Reject { code: "version_conflict" }),
        (None, Some(_)) => Err(Fault::Reject { code: "version_conflict" }),
        _ => Ok(row.and_then(|row| Role::parse(&row.role))),
    }
}
