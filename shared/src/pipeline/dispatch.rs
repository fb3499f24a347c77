//! Scope, authorize, handle: one tenant after the other, in org order, so that two batches cannot deadlock.

use super::fate::{Fate, Fault};
use super::handler::Prepared;
use super::idempotency::{self, Reserved};
use super::open::Parcel;
use super::resolve::UNRESOLVED_WINDOW;
use super::road::{Culprits, Interrupted, Road, Step};
use crate::chaos;
use crate::contract::{Envelope, TenantId};
use crate::db::{BatchTx, DbFault, Refusal, ScopedTx, TenantTx, is_timeout};
use crate::telemetry::chain;

/// Handles every claimed message. A failure that leaves the transaction usable is noted and the run goes on, so that
/// one rerun is enough for all of them; one that breaks the transaction ends the run at once.
pub(super) async fn dispatch(road: &Road, tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), Interrupted> {
    let mut order: Vec<(TenantId, usize)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.fate.is_none())
        .filter_map(|(place, step)| step.tenant.clone().map(|tenant| (tenant, place)))
        .collect();
    order.sort();
    let mut culprits = Culprits::new();
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        let ended = tenant_group(road, tx, steps, group, &mut culprits).await;
        if let Err(interrupted) = ended {
            // Once a statement of a known culprit has failed, whatever fails after it says nothing new.
            return Err(if culprits.is_empty() { interrupted } else { Interrupted::Culprits(culprits) });
        }
    }
    if culprits.is_empty() { Ok(()) } else { Err(Interrupted::Culprits(culprits)) }
}

async fn tenant_group(
    road: &Road,
    tx: &mut BatchTx,
    steps: &mut [Step<'_>],
    group: &[(TenantId, usize)],
    culprits: &mut Culprits,
) -> Result<(), Interrupted> {
    let Some((tenant, _)) = group.first() else { return Ok(()) };
    let mut scope = tx.scope(tenant).await?;
    for (_, place) in group {
        let step = &mut steps[*place];
        if let Some((code, attempts)) = step.parcel.condemned {
            culprits.push((*place, Fate::Dead { code, attempts }));
            continue;
        }
        let (ended, back) = handle(road, scope, step.parcel).await?;
        scope = back;
        match ended {
            Ok(fate) if fate.claims() => step.fate = Some(fate),
            // What waits must not leave the claim that it has already, or its later copy would be a duplicate; and a
            // duplicate must not leave one of its own.
            Ok(fate) => culprits.push((*place, fate)),
            Err(Fault::Database(error)) => {
                // A handler's own statement that is too slow would hold its lane for ever if nobody counted it.
                let too_slow = is_timeout(&error);
                let fault = DbFault::from(error);
                if fault.is_unavailable() && !too_slow {
                    return Err(fault.into());
                }
                tracing::warn!(message.id = %step.parcel.message_id(), error = chain(&fault), "a handler's statement failed");
                // After a known culprit the statement may have failed only because that one broke the transaction.
                if culprits.is_empty() {
                    culprits.push((*place, Fate::Retry { code: "statement_failed" }));
                }
                return Err(fault.into());
            }
            Err(fault) => culprits.push((*place, fate_of(&fault))),
        }
    }
    Ok(scope.leave().await?)
}

/// Authorizes one message and hands it to its handler. A refusal is a settlement, not a failure.
async fn handle<'t>(
    road: &Road,
    scope: ScopedTx<'t>,
    parcel: &Parcel,
) -> Result<(Result<Fate, Fault>, ScopedTx<'t>), DbFault> {
    let (Some(prepared), Some(opened)) = (&parcel.prepared, &parcel.opened) else {
        return Ok((Err(Fault::Poison { code: "unprepared" }), scope));
    };
    let mut tx = match scope.authorize(prepared.request(), road.roles()).await? {
        Ok(tx) => tx,
        Err(refused) => return Ok((Ok(fate_of_refusal(refused.why)), refused.scope)),
    };
    chaos::in_handler(&parcel.wire.body);
    let ended = settle(&mut tx, prepared.as_ref(), &opened.envelope).await;
    Ok((ended, tx.release()))
}

/// Reserves the command's key and runs its handler.
async fn settle(tx: &mut TenantTx<'_>, prepared: &dyn Prepared, envelope: &Envelope) -> Result<Fate, Fault> {
    if let Reserved::Known = idempotency::reserve(tx, envelope).await? {
        return Ok(Fate::Duplicate);
    }
    match prepared.run(tx).await {
        Ok(changed) => Ok(Fate::Applied(changed)),
        // The transaction is broken, and the key gone with it.
        Err(fault @ Fault::Database(_)) => Err(fault),
        Err(fault) => {
            idempotency::release(tx, envelope).await?;
            Err(fault)
        }
    }
}

fn fate_of_refusal(why: Refusal) -> Fate {
    match why {
        Refusal::Denied(rule) => Fate::Denied { rule },
        Refusal::Rejected(code) => Fate::Rejected { code },
        Refusal::TenantUnknown => Fate::Wait { code: "tenant_unknown", window: UNRESOLVED_WINDOW },
    }
}

fn fate_of(fault: &Fault) -> Fate {
    match fault {
        Fault::Retry { code } => Fate::Retry { code },
        Fault::Reject { code } => Fate::Rejected { code },
        Fault::Deny { rule } => Fate::Denied { rule },
        Fault::Poison { code } => Fate::Dead { code, attempts: 1 },
        Fault::Database(_) => Fate::Retry { code: "statement_failed" },
    }
}
