//! Turns: one transaction at a time changes a tenant. A batch takes the tenants that nobody else is at, a few at a time, and
//! leaves the others to its next transaction; so batches with the same tenants go on side by side, and none waits for a turn
//! while it holds one.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use super::fate::Fate;
use super::road::{Interrupted, Step};
use crate::contract::TenantId;
use crate::db::{BatchTx, DbFault};

/// Most tenants of a transaction: as many as make its own statements cheap, and few enough to leave some to others.
const TENANTS: i64 = 32;

/// Takes the turns of tenants whose messages are to be handled, and hands back the messages that have to wait for theirs.
/// Waits for one where nothing else can be done.
pub(super) async fn take<'p>(tx: &mut BatchTx, steps: &mut Vec<Step<'p>>) -> Result<Vec<usize>, Interrupted> {
    let wanted: BTreeSet<String> = steps.iter().filter(|step| needs_one(step)).filter_map(|step| org(step)).collect();
    let Some(first) = wanted.first().cloned() else { return Ok(Vec::new()) };
    let mut taken = free(tx, wanted.into_iter().collect()).await?;
    if taken.is_empty() && steps.iter().all(|step| needs_one(step)) {
        if !wait_for(tx, &first).await? {
            let its = steps.iter().filter(|step| org(step).as_ref() == Some(&first)).map(|step| step.place);
            return Err(Interrupted::Busy(its.collect()));
        }
        taken.insert(first);
    }
    let (now, later): (Vec<Step<'p>>, Vec<Step<'p>>) = std::mem::take(steps)
        .into_iter()
        .partition(|step| !needs_one(step) || org(step).is_none_or(|org| taken.contains(&org)));
    *steps = now;
    Ok(later.into_iter().map(|step| step.place).collect())
}

/// What is to be handled; and what its handler rejected in a run that was rolled back, since that was true in its turn.
fn needs_one(step: &Step<'_>) -> bool {
    step.condemned.is_none() && matches!(step.fate, None | Some(Fate::Rejected { .. }))
}

fn org(step: &Step<'_>) -> Option<String> {
    step.tenant.as_ref().map(TenantId::to_string)
}

/// Tenants share 1,024 locks, so that any number of them fits into PostgreSQL's table of locks; two that meet in one take
/// turns as well.
async fn free(tx: &mut BatchTx, wanted: Vec<String>) -> Result<BTreeSet<String>, DbFault> {
    let taken = sqlx::query_scalar!(
        r#"SELECT t.org AS "org!" FROM UNNEST($1::text[]) AS t (org)
           WHERE pg_try_advisory_xact_lock(1835625581, hashtext(t.org) & 1023) LIMIT $2"#,
        &wanted,
        TENANTS,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(taken.into_iter().collect())
}

/// Waits for a tenant's turn as long as it takes, for an act that must not go on beside a handler.
pub(super) async fn wait_long(connection: &mut PgConnection, org: &TenantId) -> Result<(), DbFault> {
    sqlx::query!("SELECT pg_advisory_xact_lock(1835625581, hashtext($1) & 1023)", org.as_str())
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Waits for a turn, holding none, for as long as the role may wait for a lock. False when it did not come.
async fn wait_for(tx: &mut BatchTx, org: &str) -> Result<bool, DbFault> {
    let waited = sqlx::query!("SELECT pg_advisory_xact_lock(1835625581, hashtext($1) & 1023)", org)
        .fetch_one(tx.conn())
        .await
        .map_err(DbFault::from);
    match waited {
        Ok(_) => Ok(true),
        Err(DbFault::Contended(_)) => Ok(false),
        Err(fault) => Err(fault),
    }
}
