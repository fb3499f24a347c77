//! Operations: what became of each command, kept for whoever sent it.

use super::fate::{Changed, Fate};
use super::road::Step;
use crate::contract::Timestamp;
use crate::db::{BatchTx, DbFault};

/// Writes one row for each command settled in this run. What lies outside its publisher's grant leaves none: that
/// publisher has no say about the tenant it names.
pub(super) async fn record(tx: &mut BatchTx, steps: &[Step<'_>], now: Timestamp) -> Result<(), DbFault> {
    let (mut orgs, mut publishers, mut ids, mut commands) = (vec![], vec![], vec![], vec![]);
    let (mut outcomes, mut codes, mut types, mut resources) = (vec![], vec![], vec![], vec![]);
    for step in steps {
        let Some((fate, outcome)) = step.fate.as_ref().and_then(|fate| Some((fate, fate.outcome()?))) else { continue };
        let Some(opened) = step.parcel.opened.as_ref().filter(|_| !matches!(fate, Fate::OutsideGrant { .. })) else {
            continue;
        };
        let Some(org) = opened.envelope.org_id.as_ref().filter(|_| opened.envelope.principal.kind.sends_commands())
        else {
            continue;
        };
        let changed = match fate {
            Fate::Applied(Changed { resource_type, resource_id, .. }) => Some((*resource_type, resource_id.clone())),
            _ => None,
        };
        orgs.push(org.to_string());
        publishers.push(opened.publisher.name.to_string());
        ids.push(opened.envelope.message_id.to_string());
        commands.push(opened.envelope.message_type.to_string());
        outcomes.push(outcome.as_str().to_owned());
        codes.push(fate.code().map(str::to_owned));
        types.push(changed.as_ref().map(|(kind, _)| (*kind).to_owned()));
        resources.push(changed.map(|(_, id)| id));
    }
    if orgs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO engine.operations
           (org_id, publisher, message_id, command, outcome, code, resource_type, resource_id, settled_at)
         SELECT n.*, $9 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
           $8::text[]) AS n (org_id, publisher, message_id, command, outcome, code, resource_type, resource_id)
         ORDER BY n.org_id, n.publisher, n.message_id
         ON CONFLICT (org_id, publisher, message_id) DO NOTHING",
        &orgs,
        &publishers,
        &ids,
        &commands,
        &outcomes,
        &codes as &[Option<String>],
        &types as &[Option<String>],
        &resources as &[Option<String>],
        now.moment(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
