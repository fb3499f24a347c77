//! Claim: one call of the inbox tells fresh messages from duplicates, and idempotency keys that are free from those that
//! stand for another message.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fate::Fate;
use super::open::Parcel;
use super::road::Step;
use crate::chaos::{self, Sabotage};
use crate::contract::TenantId;
use crate::db::{BatchTx, DbFault};

/// How long a key is remembered at least. A message that is older could be a copy of one that is forgotten.
pub const WINDOW: std::time::Duration = std::time::Duration::from_secs(35 * 24 * 3_600);

/// A key that a message asks for. The publisher is empty for an idempotency key, which is no message of its own.
struct Asked<'s> {
    key: Uuid,
    step: &'s Step<'s>,
    publisher: String,
}

/// Who holds a key.
struct Held {
    holder: String,
    fresh: bool,
}

/// Claims what is to be handled, ignored, rejected or denied. What is parked or dead leaves no row, or its later
/// copy would be taken for a duplicate. A command claims its idempotency key as well, whatever becomes of it.
pub(super) async fn claim(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    let mut held = ask(tx, steps).await?;
    for step in steps.iter_mut().filter(|step| claims(step)) {
        // The first of two copies in one batch takes the claim; the second finds it gone.
        step.fate = match take(&mut held, message_key(step), step.parcel) {
            Taken::Fresh => step.fate.take(),
            Taken::Before | Taken::ByAnother => Some(Fate::Duplicate),
        };
        let key = idempotency_key(step).filter(|_| step.fate != Some(Fate::Duplicate));
        match key.map(|key| take(&mut held, key, step.parcel)) {
            None | Some(Taken::Fresh) => {}
            Some(Taken::Before) => step.fate = Some(Fate::Duplicate),
            Some(Taken::ByAnother) => step.fate = Some(Fate::Rejected { code: "idempotency_key_reused" }),
        }
    }
    Ok(())
}

async fn ask(tx: &mut BatchTx, steps: &[Step<'_>]) -> Result<HashMap<Uuid, Held>, DbFault> {
    let claiming = steps.iter().filter(|step| claims(step));
    let asked: Vec<Asked<'_>> = claiming
        .flat_map(|step| {
            let message = Asked { key: message_key(step), step, publisher: step.parcel.publisher() };
            let idempotency = idempotency_key(step).map(|key| Asked { key, step, publisher: String::new() });
            std::iter::once(message).chain(idempotency)
        })
        .collect();
    if asked.is_empty() || chaos::sabotaged(Sabotage::NoInbox) {
        return Ok(HashMap::new());
    }
    let keys: Vec<Uuid> = asked.iter().map(|asked| asked.key).collect();
    let holders: Vec<String> = asked.iter().map(|asked| asked.step.parcel.message_id()).collect();
    let orgs: Vec<String> = asked.iter().map(|asked| org(asked.step).to_owned()).collect();
    let publishers: Vec<String> = asked.iter().map(|asked| asked.publisher.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT claimed AS "claimed!", holder AS "holder!", fresh AS "fresh!" FROM engine.claim($1, $2, $3, $4)"#,
        &keys,
        &holders,
        &orgs,
        &publishers,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.claimed, Held { holder: row.holder, fresh: row.fresh })).collect())
}

/// What became of a claim.
enum Taken {
    /// It is this message's, just now.
    Fresh,
    /// This message, or a copy of it, has held it before.
    Before,
    /// It stands for another message.
    ByAnother,
}

fn take(held: &mut HashMap<Uuid, Held>, key: Uuid, parcel: &Parcel) -> Taken {
    if chaos::sabotaged(Sabotage::NoInbox) {
        return Taken::Fresh;
    }
    // A key that the inbox did not answer for was not claimed.
    let Some(held) = held.get_mut(&key) else { return Taken::Before };
    if held.holder != parcel.message_id() {
        return Taken::ByAnother;
    }
    if std::mem::replace(&mut held.fresh, false) { Taken::Fresh } else { Taken::Before }
}

fn claims(step: &Step<'_>) -> bool {
    step.tenant.is_some() && step.fate.as_ref().is_none_or(Fate::claims)
}

fn org<'s>(step: &'s Step<'_>) -> &'s str {
    step.tenant.as_ref().map_or("", TenantId::as_str)
}

/// A command with an idempotency key is one message whoever publishes it, since its id follows from what it says; every
/// other message is its publisher's own.
fn message_key(step: &Step<'_>) -> Uuid {
    let publisher = if idempotent(step.parcel).is_some() { String::new() } else { step.parcel.publisher() };
    key("message", [org(step).as_bytes(), publisher.as_bytes(), &step.parcel.inbox_key()])
}

fn idempotency_key(step: &Step<'_>) -> Option<Uuid> {
    let (actor, text) = idempotent(step.parcel)?;
    Some(key("idempotency", [org(step).as_bytes(), actor.as_bytes(), text.as_bytes()]))
}

/// Actor and idempotency key of a command that has one.
fn idempotent(parcel: &Parcel) -> Option<(String, &str)> {
    let envelope = &parcel.opened.as_ref()?.envelope;
    Some((envelope.principal.actor_id(), envelope.idempotency_key()?))
}

/// The first 16 bytes of SHA-256 over the parts, with NUL between them. Migration 0008 computes the same.
fn key(kind: &str, parts: [&[u8]; 3]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(kind);
    for part in parts {
        hash.update([0]);
        hash.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    Uuid::from_bytes(first)
}
