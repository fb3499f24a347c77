//! Scope, authorize, handle: one tenant after the other.

use std::collections::BTreeSet;

use super::egress::Call;
use super::fate::{Fate, Fault};
use super::handler::{Prepared, Together};
use super::open::Parcel;
use super::resolve::UNRESOLVED_WINDOW;
use super::road::{Culprits, Interrupted, Road, RoadFault, Step};
use crate::chaos;
use crate::contract::{Callers, Outcome, TenantId};
use crate::db::{BatchTx, DbFault, Refusal, ScopedTx, is_contended, is_timeout, user};
use crate::telemetry::{chain, fields};

/// How long a message waits for a lock that others hold, before it is dead.
pub(super) const CONTENDED: Fate = Fate::wait("contended", UNRESOLVED_WINDOW);

/// Handles every claimed message. A failure that leaves the transaction usable is noted and the run goes on, so that
/// one rerun is enough for all of them; one that breaks the transaction ends the run at once.
pub(super) async fn dispatch(road: &Road, tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), Interrupted> {
    let mut order: Vec<(TenantId, usize)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.fate.is_none())
        .filter_map(|(place, step)| step.tenant.clone().map(|tenant| (tenant, place)))
        .collect();
    if order.is_empty() {
        return Ok(());
    }
    order.sort();
    let mut culprits = Culprits::new();
    let mut tenants = tx.tenants();
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        let places: Vec<usize> = group.iter().map(|(_, place)| *place).collect();
        let ended = match tenants.scope(&group[0].0, &users(steps, &places)).await {
            Ok(scope) => tenant_group(road, scope, steps, &places, &mut culprits).await,
            // Somebody holds the tenant's row, or a person's whom an erasure is at: its messages wait, and no others.
            Err(fault @ DbFault::Contended(_)) => {
                tracing::warn!(tenant = %group[0].0, error = chain(&fault), "a tenant's scope waits for a lock");
                let its = places.iter().map(|place| (steps[*place].place, CONTENDED));
                Err(Interrupted::Culprits(its.collect()))
            }
            Err(fault) => Err(fault.into()),
        };
        if let Err(interrupted) = ended {
            // Once a statement of a known culprit has failed, whatever fails after it says nothing new.
            return Err(if culprits.is_empty() { interrupted } else { Interrupted::Culprits(culprits) });
        }
    }
    let left = tenants.leave().await;
    // A handler may have named a fate for a statement that failed, and nothing can be left in order after that.
    if culprits.is_empty() { Ok(left?) } else { Err(Interrupted::Culprits(culprits)) }
}

/// Everybody who will be asked about.
fn users(steps: &[Step<'_>], places: &[usize]) -> Vec<String> {
    let opened = places.iter().filter_map(|place| steps[*place].parcel.opened.as_ref());
    let users: BTreeSet<&str> = opened.filter_map(|opened| user(&opened.envelope.principal)).collect();
    users.into_iter().map(str::to_owned).collect()
}

/// Handles one tenant's messages: runs of one type together where its handler can, the others one by one.
async fn tenant_group(
    road: &Road,
    mut scope: ScopedTx<'_>,
    steps: &mut [Step<'_>],
    places: &[usize],
    culprits: &mut Culprits,
) -> Result<(), Interrupted> {
    let places = without_condemned(steps, places, culprits);
    for mut run in runs(steps, &places) {
        if run.len() > 1 {
            let all;
            (all, scope) = together(road, scope, steps, &run).await?;
            if all {
                run.clear();
            }
        }
        for place in run {
            let step = &mut steps[place];
            let (ended, back) = handle(road, scope, step.parcel).await?;
            scope = back;
            let contended = matches!(&ended, Err(Fault::Database(error)) if is_contended(error));
            settle(step, ended, culprits).inspect_err(|_| {
                // Each of its tenant's other messages would wait for the same lock.
                if contended && culprits.last().is_some_and(|(_, fate)| *fate == CONTENDED) {
                    culprits.extend(undecided(steps, &places, place).map(|place| (place, CONTENDED)));
                }
            })?;
        }
    }
    Ok(())
}

/// Places in the batch of a tenant's messages that have no fate yet, but for one of them.
fn undecided<'s>(steps: &'s [Step<'_>], places: &'s [usize], but: usize) -> impl Iterator<Item = usize> + 's {
    let waiting = move |place: &&usize| **place != but && steps[**place].fate.is_none();
    places.iter().filter(waiting).map(|place| steps[*place].place)
}

/// What goes together, in the order of arrival.
fn runs(steps: &[Step<'_>], places: &[usize]) -> Vec<Vec<usize>> {
    places.chunk_by(|a, b| go_together(steps[*a].parcel, steps[*b].parcel)).map(<[usize]>::to_vec).collect()
}

/// What is dead unless the inbox knew it: the inbox did not.
fn without_condemned(steps: &[Step<'_>], places: &[usize], culprits: &mut Culprits) -> Vec<usize> {
    let mut rest = Vec::with_capacity(places.len());
    for place in places {
        match steps[*place].condemned {
            Some((code, attempts)) => culprits.push((steps[*place].place, Fate::Dead { code, attempts })),
            None => rest.push(*place),
        }
    }
    rest
}

fn go_together(a: &Parcel, b: &Parcel) -> bool {
    let message_type = |parcel: &Parcel| parcel.opened.as_ref().map(|opened| opened.envelope.message_type.clone());
    let both =
        [a, b].into_iter().all(|parcel| parcel.prepared.as_ref().is_some_and(|prepared| prepared.goes_together()));
    both && message_type(a) == message_type(b)
}

/// Authorizes and applies messages of one type together. False when nothing was done: they are for one by one.
async fn together<'t>(
    road: &Road,
    scope: ScopedTx<'t>,
    steps: &mut [Step<'_>],
    places: &[usize],
) -> Result<(bool, ScopedTx<'t>), Interrupted> {
    let prepared: Vec<&dyn Prepared> =
        places.iter().filter_map(|place| steps[*place].parcel.prepared.as_deref()).collect();
    let requests: Vec<_> = prepared.iter().map(|prepared| prepared.request()).collect();
    let (mut tx, answers) = scope.authorize_group(&requests, road.roles()).await?;
    if answers.iter().any(Result::is_err) {
        return Ok((false, tx.release()));
    }
    let Some(first) = prepared.first() else { return Ok((false, tx.release())) };
    places.iter().for_each(|place| chaos::in_handler(&steps[*place].parcel.wire.body));
    match first.run_together(&mut tx, &prepared).await {
        Ok(Together::All(changes)) if changes.len() == places.len() => {
            metrics::counter!(fields::TOGETHER, "worker" => road.worker.to_string()).increment(places.len() as u64);
            for (place, changed) in places.iter().zip(changes) {
                steps[*place].fate = Some(Fate::Applied(changed));
            }
            Ok((true, tx.release()))
        }
        Ok(Together::OneByOne) => Ok((false, tx.release())),
        // Nobody can be named: the batch is halved until each runs by itself. So it is when the statement took too long, or
        // the same batch would wait for the database for ever.
        Err(Fault::Database(error)) if is_timeout(&error) => Err(RoadFault::Together.into()),
        Ok(Together::All(_)) => Err(RoadFault::Together.into()),
        Err(Fault::Database(error)) => Err(DbFault::from(error).into()),
        Err(_) => Err(RoadFault::Together.into()),
    }
}

/// Authorizes one message and hands it to its handler. A refusal is a settlement, not a failure.
async fn handle<'t>(
    road: &Road,
    scope: ScopedTx<'t>,
    parcel: &Parcel,
) -> Result<(Result<Fate, Fault>, ScopedTx<'t>), DbFault> {
    let Some(prepared) = &parcel.prepared else {
        return Ok((Err(Fault::Poison { code: "unprepared" }), scope));
    };
    let mut tx = match scope.authorize(prepared.request(), road.roles()).await? {
        Ok(tx) => tx,
        Err(refused) => return Ok((Ok(fate_of_refusal(refused.why)), refused.scope)),
    };
    if prepared.request().callers == Callers::System {
        let (org, publisher, id) = (tx.tenant().to_string(), parcel.publisher(), parcel.message_id());
        tx.name_applied_event(road.event_key.event_id(&org, &publisher, &id, Outcome::Applied, 0));
    }
    chaos::in_handler(&parcel.wire.body);
    let ended = prepared.run(&mut tx).await.map(Fate::Applied);
    Ok((ended, tx.release()))
}

/// Lets a principal in and reads what its call to the outside needs, or says what becomes of the message without one.
pub(super) async fn read(
    road: &Road,
    tx: &mut BatchTx,
    parcel: &Parcel,
    tenant: &TenantId,
) -> Result<Result<Call, Fate>, DbFault> {
    let Some(prepared) = &parcel.prepared else { return Ok(Err(fate_of(&Fault::Poison { code: "unprepared" }))) };
    let request = prepared.request();
    let users: Vec<String> = user(request.principal).map(str::to_owned).into_iter().collect();
    let mut tenants = tx.tenants();
    let mut tx = match tenants.scope(tenant, &users).await?.authorize(request, road.roles()).await? {
        Ok(tx) => tx,
        Err(refused) => return Ok(Err(fate_of_refusal(refused.why))),
    };
    match prepared.read(&mut tx).await {
        Ok(call) => Ok(Ok(call)),
        Err(Fault::Database(error)) if is_contended(&error) => Ok(Err(CONTENDED)),
        // A read that is too slow is its message's failure, as a handler's statement is: nobody would count it otherwise.
        Err(Fault::Database(error)) if is_timeout(&error) => Ok(Err(Fate::retry("statement_failed"))),
        Err(Fault::Database(error)) => match DbFault::from(error) {
            DbFault::Statement(_) => Ok(Err(Fate::retry("statement_failed"))),
            fault => Err(fault),
        },
        Err(fault) => Ok(Err(fate_of(&fault))),
    }
}

/// Writes down what became of one message, or who is to blame for a transaction that is broken.
fn settle(step: &mut Step<'_>, ended: Result<Fate, Fault>, culprits: &mut Culprits) -> Result<(), Interrupted> {
    let place = step.place;
    match ended {
        Ok(fate) if fate.claims() => step.fate = Some(fate),
        // What waits must not leave the claim that it has already, or its later copy would be a duplicate.
        Ok(fate) => culprits.push((place, fate)),
        Err(Fault::Database(error)) => {
            // A handler's own statement that is too slow would hold its lane for ever if nobody counted it.
            let too_slow = is_timeout(&error);
            let contended = is_contended(&error);
            let fault = DbFault::from(error);
            if fault.is_unavailable() && !too_slow {
                return Err(fault.into());
            }
            let (message, fate) = match contended {
                true => ("a handler waits for a lock", CONTENDED),
                false => ("a handler's statement failed", Fate::retry("statement_failed")),
            };
            tracing::warn!(message.id = %step.parcel.message_id(), error = chain(&fault), message);
            // After a known culprit the statement may have failed only because that one broke the transaction.
            if culprits.is_empty() {
                culprits.push((place, fate));
            }
            return Err(fault.into());
        }
        Err(fault) => culprits.push((place, fate_of(&fault))),
    }
    Ok(())
}

fn fate_of_refusal(why: Refusal) -> Fate {
    match why {
        Refusal::Denied(rule) => Fate::Denied { rule },
        Refusal::Rejected(code) => Fate::Rejected { code },
        Refusal::TenantUnknown => Fate::wait("tenant_unknown", UNRESOLVED_WINDOW),
    }
}

pub(super) fn fate_of(fault: &Fault) -> Fate {
    match fault {
        Fault::Retry { code } => Fate::retry(code),
        Fault::Wait { code, window } => Fate::wait(code, *window),
        Fault::Reject { code } => Fate::Rejected { code },
        Fault::Deny { rule } => Fate::Denied { rule },
        Fault::Poison { code } => Fate::Dead { code, attempts: 1 },
        Fault::Database(_) => Fate::retry("statement_failed"),
    }
}
