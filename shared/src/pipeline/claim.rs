//! Claim: the insert into the inbox tells fresh messages from duplicates, in one round trip.

use std::collections::HashSet;

use super::fate::Fate;
use super::road::Step;
use crate::chaos::{self, Sabotage};
use crate::db::{BatchTx, DbFault};

/// Claims what is to be handled, ignored, rejected or denied. What is parked or dead leaves no row, or its later
/// copy would be taken for a duplicate.
pub(super) async fn claim(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    let (mut orgs, mut publishers, mut keys, mut ids) = (vec![], vec![], vec![], vec![]);
    for step in steps.iter().filter(|step| claims(step)) {
        orgs.push(org(step));
        publishers.push(step.parcel.publisher());
        keys.push(step.parcel.inbox_key().to_vec());
        ids.push(step.parcel.message_id());
    }
    if orgs.is_empty() || chaos::sabotaged(Sabotage::NoInbox) {
        return Ok(());
    }
    // Sorted, because concurrent batches with overlapping keys in different orders deadlock.
    let fresh = sqlx::query!(
        r#"INSERT INTO engine.inbox (org_id, publisher, key, message_id)
           SELECT c.org_id, c.publisher, c.key, c.message_id
           FROM UNNEST($1::text[], $2::text[], $3::bytea[], $4::text[]) AS c (org_id, publisher, key, message_id)
           ORDER BY c.org_id, c.publisher, c.key
           ON CONFLICT DO NOTHING RETURNING org_id, publisher, key"#,
        &orgs,
        &publishers,
        &keys,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut fresh: HashSet<_> = fresh.into_iter().map(|row| (row.org_id, row.publisher, row.key)).collect();
    for step in steps.iter_mut().filter(|step| claims(step)) {
        // The first of two copies in one batch takes the claim; the second finds it gone.
        let key = (org(step), step.parcel.publisher(), step.parcel.inbox_key().to_vec());
        if !fresh.remove(&key) {
            step.fate = Some(Fate::Duplicate);
        }
    }
    Ok(())
}

fn claims(step: &Step<'_>) -> bool {
    step.tenant.is_some() && step.fate.as_ref().is_none_or(Fate::claims)
}

fn org(step: &Step<'_>) -> String {
    step.tenant.as_ref().map_or_else(String::new, ToString::to_string)
}
