//! Bury: a dead letter keeps the raw bytes, once.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fate::Fate;
use super::open::Parcel;
use super::road::{Road, Step};
use crate::contract::{TenantId, Topology};
use crate::db::{BatchTx, DbFault};

/// Writes every dead letter; one that is there already is a duplicate, so that its audit line is not doubled.
pub(super) async fn bury(road: &Road, tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    for step in steps.iter_mut() {
        let Some(Fate::Dead { code, attempts }) = step.fate else { continue };
        if !insert(road, tx, step, code, attempts).await? {
            step.fate = Some(Fate::Duplicate);
        }
    }
    Ok(())
}

async fn insert(road: &Road, tx: &mut BatchTx, step: &Step<'_>, code: &str, attempts: i32) -> Result<bool, DbFault> {
    let parcel = step.parcel;
    let org = step.tenant.clone().unwrap_or_else(TenantId::operator);
    let envelope = parcel.opened.as_ref().map(|opened| &opened.envelope);
    let publisher = parcel.opened.as_ref().map(|opened| opened.publisher.name.to_string());
    let inserted = sqlx::query!(
        "INSERT INTO engine.dead_letters
           (id, org_id, identity, publisher, message_id, message_type, queue, reason, attempts, fields, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (identity, redrives) DO NOTHING RETURNING identity",
        Uuid::now_v7(),
        org.as_str(),
        &identity(parcel)[..],
        publisher,
        envelope.map(|e| e.message_id.to_string()),
        envelope.map(|e| e.message_type.to_string()),
        queue(road, parcel),
        code,
        attempts,
        parcel.wire.fields_json(),
        parcel.wire.body,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(inserted.is_some())
}

/// The queue it was taken from. The lane is the message's own word, within its publisher's grant, which is all that work
/// queues of one worker differ by.
fn queue(road: &Road, parcel: &Parcel) -> String {
    if parcel.given_up { Topology::DEAD_QUEUE.to_owned() } else { Topology::work_queue(&road.worker, parcel.lane()) }
}

/// What makes two dead letters one: publisher and message id, else everything that arrived.
fn identity(parcel: &Parcel) -> [u8; 32] {
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
