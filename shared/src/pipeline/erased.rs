//! Erased: what is set aside of somebody who was erased is set aside without its body, and nothing of it waits.

use serde_json::Value;

use super::dispatch::CONTENDED;
use super::fate::Fate;
use super::open::Parcel;
use super::road::Step;
use crate::contract::{Field, TenantId};
use crate::db::{BatchTx, DbFault, user};

/// Fields of an envelope that name its person, or could.
const NAMING: [Field; 3] = [Field::ActorId, Field::TokenId, Field::DedupeKey];

/// Learns which of the messages that would be kept belong to somebody who was erased. Those among them that no handler here
/// knows are dead at once: a newer worker could do nothing but deny them.
pub(super) async fn condemn(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    // Whoever holds the lock that a message met may hold what answers: asking would make its neighbours wait as well.
    let kept = |step: &&Step<'_>| {
        step.fate != Some(CONTENDED)
            && matches!(step.fate, Some(Fate::Dead { .. } | Fate::Wait { .. } | Fate::Retry { .. }))
    };
    let owners: Vec<_> = steps.iter().filter(kept).filter_map(|step| owner(step)).collect();
    if owners.is_empty() {
        return Ok(());
    }
    tx.learn_erased(owners).await?;
    for step in steps.iter_mut().filter(|step| step.parcel.prepared.is_none()) {
        if let Some(Fate::Wait { code, .. }) = step.fate
            && is_erased(tx, step)
        {
            step.fate = Some(Fate::Dead { code, attempts: 0 });
        }
    }
    Ok(())
}

/// Does it belong to somebody who was erased?
pub(super) fn is_erased(tx: &BatchTx, step: &Step<'_>) -> bool {
    owner(step).is_some_and(|(tenant, user)| tx.is_erased(&tenant, user.as_deref()))
}

/// What of the envelope is kept then.
pub(super) fn nameless(parcel: &Parcel) -> Value {
    let mut fields = parcel.wire.fields_json();
    if let Some(fields) = fields.as_object_mut() {
        NAMING.iter().for_each(|field| drop(fields.remove(field.name())));
    }
    fields
}

/// The tenant that an authentic message stands under, and its user, where it is one's.
fn owner(step: &Step<'_>) -> Option<(TenantId, Option<String>)> {
    let opened = step.parcel.opened.as_ref()?;
    Some((step.tenant.clone()?, user(&opened.envelope.principal).map(str::to_owned)))
}
