//! Bury: a dead letter keeps the raw bytes, once; and once more for each time that its message was redriven.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::erased::{is_erased, nameless};
use super::fate::Fate;
use super::open::{Parcel, TOO_OLD};
use super::road::{Road, Step};
use crate::contract::{TenantId, Topology};
use crate::db::{BatchTx, DbFault};

/// Writes every dead letter. One that is there already is a duplicate, so that its audit line is not doubled; a message
/// that dies after a redrive is a new letter with a line of its own.
pub(super) async fn bury(road: &Road, tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    // In one order everywhere, so that two batches with the same messages wait for each other and never deadlock.
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_cached_key(|place| identity(steps[*place].parcel));
    for place in order {
        let step = &mut steps[place];
        let Some(Fate::Dead { code, attempts }) = step.fate else { continue };
        step.fate = Some(match insert(road, tx, step, code, attempts).await? {
            Some(redrives) => Fate::Buried { code, attempts, redrives },
            None => Fate::Duplicate,
        });
    }
    Ok(())
}

/// What comes again although it has a letter that was not redriven was buried by a process that ended before it could ack: a dead letter leaves
/// no inbox row that would say so, and what kills its process must not begin anew.
pub(super) async fn recognize(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    let asked: Vec<Vec<u8>> =
        steps.iter().filter(|s| s.parcel.runs_again()).map(|s| identity(s.parcel).to_vec()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let letters = sqlx::query!(
        "SELECT identity, created_at FROM engine.dead_letters WHERE identity = ANY($1) AND state <> 'redriven'",
        &asked,
    )
    .fetch_all(tx.conn())
    .await?;
    for step in steps.iter_mut().filter(|step| step.parcel.runs_again()) {
        let sealed = step.parcel.opened.as_ref().map(|opened| opened.envelope.issued_at.moment());
        // A command that was sent once more after its death is sealed anew, and begins anew.
        let its = |letter_of: &[u8], buried| letter_of == identity(step.parcel) && sealed.is_some_and(|at| at < buried);
        if letters.iter().any(|letter| its(&letter.identity, letter.created_at)) {
            step.fate = Some(Fate::Duplicate);
        }
    }
    Ok(())
}

/// Lets through what is older than the inbox remembers and was redriven by force.
pub(super) async fn pardon(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    let too_old = |step: &Step<'_>| step.condemned.is_some_and(|(code, _)| code == TOO_OLD);
    let asked: Vec<Vec<u8>> = steps.iter().filter(|s| too_old(s)).map(|s| identity(s.parcel).to_vec()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let forced = forced(tx, &asked).await?;
    for step in steps.iter_mut().filter(|step| forced.contains(&identity(step.parcel)[..])) {
        step.condemned = step.condemned.filter(|(code, _)| *code != TOO_OLD);
    }
    Ok(())
}

/// Which of these an operator has redriven by force. The newest letter of a message says so, so that a copy of what died
/// again may not; and for 35 days only, as long as the inbox certainly knows what has been handled since.
async fn forced(tx: &mut BatchTx, identities: &[Vec<u8>]) -> Result<HashSet<Vec<u8>>, DbFault> {
    let found = sqlx::query_scalar!(
        "SELECT identity FROM (
           SELECT DISTINCT ON (identity) identity, forced, marked_at FROM engine.dead_letters
           WHERE identity = ANY($1) ORDER BY identity, redrives DESC) AS newest
         WHERE forced AND marked_at > now() - interval '35 days'",
        identities,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(found.into_iter().collect())
}

/// Writes a letter; one of somebody who was erased has no body, names nobody and is discarded at once. Returns how many of
/// the message's letters were redriven before, or `None` when its letter is there already. The redriven message comes after
/// the commit of its redrive, so the count has it.
async fn insert(
    road: &Road,
    tx: &mut BatchTx,
    step: &Step<'_>,
    code: &str,
    attempts: i32,
) -> Result<Option<i32>, DbFault> {
    let parcel = step.parcel;
    let org = step.tenant.clone().unwrap_or_else(TenantId::operator);
    let envelope = parcel.opened.as_ref().map(|opened| &opened.envelope);
    let publisher = parcel.opened.as_ref().map(|opened| opened.publisher.name.to_string());
    let erased = is_erased(tx, step);
    let (fields, body) = match erased {
        true => (nameless(parcel), &[][..]),
        false => (parcel.wire.fields_json(), parcel.wire.body.as_slice()),
    };
    let redrives = sqlx::query_scalar!(
        "INSERT INTO engine.dead_letters
           (id, org_id, identity, publisher, message_id, message_type, queue, reason, attempts, fields, body, redrives,
            state, marked_at, marked_by, because, erased_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
           (SELECT count(*)::int FROM engine.dead_letters WHERE identity = $3 AND state = 'redriven'),
           CASE WHEN $12 THEN 'discarded' ELSE 'open' END, CASE WHEN $12 THEN now() END,
           CASE WHEN $12 THEN 'erasure' END, CASE WHEN $12 THEN 'personal data erased' END, CASE WHEN $12 THEN now() END)
         ON CONFLICT (identity, redrives) DO NOTHING RETURNING redrives",
        Uuid::now_v7(),
        org.as_str(),
        &identity(parcel)[..],
        publisher,
        envelope.map(|e| e.message_id.to_string()),
        envelope.map(|e| e.message_type.to_string()),
        queue(road, parcel),
        code,
        attempts,
        fields,
        body,
        erased,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(redrives)
}

/// The queue it was taken from. The lane is the message's own word, within its publisher's grant, which is all that work
/// queues of one worker differ by.
fn queue(road: &Road, parcel: &Parcel) -> String {
    if parcel.given_up { Topology::DEAD_QUEUE.to_owned() } else { Topology::work_queue(&road.worker, parcel.lane()) }
}

/// What makes two dead letters one: publisher and message id, else everything that arrived.
pub(super) fn identity(parcel: &Parcel) -> [u8; 32] {
    match &parcel.opened {
        None => parcel.raw_hash(),
        Some(opened) => {
            let mut hash = Sha256::new();
            hash.update(opened.publisher.name.as_str());
            hash.update([0]);
            hash.update(opened.envelope.message_id.as_str());
            hash.finalize().into()
        }
    }
}
