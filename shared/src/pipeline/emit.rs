//! Emit: one audit event for each settlement and the events of what was applied, sealed and stored in the outbox before
//! the COMMIT.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::fate::{Changed, Destination, Fate, Happened, Resource};
use super::outbox::{OutboxRow, store};
use super::road::{Road, RoadFault, Step};
use crate::contract::{
    AuditEvent, AuditLineFault, Envelope, Field, Lane, MessageId, MessageType, Outcome, Principal, Route, Signer,
    TenantId, Timestamp, WireMessage,
};
use crate::db::{BatchTx, DbFault, user};

/// Stores the audit events of everything settled in this run, and the events of what was applied.
pub(super) async fn emit(
    road: &Road,
    tx: &mut BatchTx,
    steps: &[Step<'_>],
    now: Timestamp,
) -> Result<Vec<OutboxRow>, RoadFault> {
    tx.learn_pseudonyms(steps.iter().flat_map(named)).await?;
    let policy_version = road.roles().version();
    let mut rows = Vec::with_capacity(steps.len());
    for step in steps {
        let Some((fate, outcome)) = step.fate.as_ref().and_then(|fate| Some((fate, fate.outcome()?))) else { continue };
        let event = settlement(road, tx, step, (fate, outcome), now, &policy_version);
        rows.push(OutboxRow::audit(&road.signer, &event, now).map_err(RoadFault::Audit)?);
        if let Fate::Applied(changed) = fate {
            for happened in &changed.events {
                rows.extend(announcement(road, step, happened, now).map_err(RoadFault::Audit)?);
            }
        }
    }
    store(tx.conn(), &rows).await.map_err(DbFault::from)?;
    Ok(rows)
}

/// The people whom the audit line of a settlement names.
fn named(step: &Step<'_>) -> Vec<(TenantId, String)> {
    let (Some(fate), Some(tenant)) = (&step.fate, &step.tenant) else { return Vec::new() };
    if fate.outcome().is_none() {
        return Vec::new();
    }
    let actor = step.parcel.opened.as_ref().and_then(|opened| user(&opened.envelope.principal));
    let target = match fate {
        Fate::Applied(Changed { resource: Resource::Person(person), .. }) => Some(person.as_str()),
        _ => None,
    };
    actor.into_iter().chain(target).map(|person| (tenant.clone(), person.to_owned())).collect()
}

fn settlement(
    road: &Road,
    tx: &BatchTx,
    step: &Step<'_>,
    (fate, outcome): (&Fate, Outcome),
    now: Timestamp,
    policy_version: &str,
) -> AuditEvent {
    let parcel = step.parcel;
    let envelope = parcel.opened.as_ref().map(|opened| &opened.envelope);
    let tenant = step.tenant.clone().unwrap_or_else(TenantId::operator);
    let (resource_type, resource_id) = match fate {
        Fate::Applied(Changed { resource_type, resource: Resource::Id(id), .. }) => (*resource_type, id.clone()),
        Fate::Applied(Changed { resource_type, resource: Resource::Person(person), .. }) => {
            (*resource_type, tx.pseudonym(&tenant, person))
        }
        _ => ("message", parcel.message_id()),
    };
    let action = match (&parcel.prepared, envelope) {
        (Some(prepared), _) => prepared.action().to_owned(),
        (None, Some(envelope)) => envelope.message_type.to_string(),
        (None, None) => "message.unreadable".to_owned(),
    };
    let actor_id = envelope.map_or("unknown".to_owned(), |envelope| tx.actor(&tenant, &envelope.principal));
    let org_id = tenant.to_string();
    let redrives = if let Fate::Buried { redrives, .. } = fate { *redrives } else { 0 };
    let event_id = road.event_key.event_id(&org_id, &parcel.publisher(), &parcel.message_id(), outcome, redrives);
    AuditEvent {
        timestamp: now.to_string(),
        org_id,
        actor_id,
        action,
        resource_type: resource_type.to_owned(),
        resource_id,
        metadata: metadata(step, fate),
        event_id,
        outcome: outcome.to_string(),
        policy_version: policy_version.to_owned(),
    }
}

/// A message that follows has nobody who takes it: a mistake in the contract.
#[derive(Debug, thiserror::Error)]
#[error("no worker of the contract takes {0}")]
struct Untaken(&'static str);

/// What follows from an applied message, sealed by this worker. Its id follows from its cause, so that a copy of it is known.
fn announcement(
    road: &Road,
    step: &Step<'_>,
    happened: &Happened,
    now: Timestamp,
) -> Result<Option<OutboxRow>, Box<dyn std::error::Error + Send + Sync>> {
    let Some(opened) = &step.parcel.opened else { return Ok(None) };
    let cause = &opened.envelope;
    let event = MessageType::parse(happened.name)?;
    let envelope = Envelope {
        message_id: MessageId::of_event(road.signer.deployment(), &opened.publisher.name, &cause.message_id, &event),
        message_type: event,
        schema_version: happened.schema_version,
        content_type: "application/json".to_owned(),
        org_id: step.tenant.clone(),
        principal: Principal::system(road.signer.publisher().as_str()),
        token: None,
        origin: None,
        dedupe_key: None,
        correlation_id: Some(cause.correlation_id.clone().unwrap_or_else(|| cause.message_id.to_string())),
        causation_id: Some(cause.message_id.clone()),
        issued_at: now,
        expected_version: None,
    };
    let route = match happened.destination {
        Destination::Events => Route::event(&envelope.message_type),
        Destination::Work => {
            let taker = road.contract.payload(happened.name).ok_or(Untaken(happened.name))?;
            Route::work(&taker.worker, Lane::Main)
        }
    };
    let wire = road.signer.seal(&envelope, Lane::Main, happened.body.clone())?;
    Ok(Some(OutboxRow { id: Uuid::now_v7(), route, wire: std::sync::Arc::new(wire) }))
}

/// Ids and codes only; a caller's idempotency key may be anything, so it is not here. The tenant that an unauthentic message claims stands here and nowhere else.
fn metadata(step: &Step<'_>, fate: &Fate) -> Map<String, Value> {
    let parcel = step.parcel;
    let envelope = parcel.opened.as_ref().map(|opened| &opened.envelope);
    let claimed = parcel.wire.get(Field::OrgId).and_then(|org| TenantId::parse(org).ok());
    let (attempts, redrives) = match fate {
        Fate::Buried { attempts, redrives, .. } => (Some(*attempts), Some(*redrives).filter(|times| *times > 0)),
        _ => (None, None),
    };
    let (certificate, tombstone) = match fate {
        Fate::Applied(changed) => (changed.certificate, changed.tombstone),
        _ => (None, None),
    };
    [
        ("message_id", Some(parcel.message_id().into())),
        ("publisher", Some(parcel.publisher().into())),
        ("dedupe_key", envelope.filter(|e| e.origin.is_some()).and_then(|e| e.dedupe_key.clone()).map(Value::from)),
        ("code", fate.code().map(Value::from)),
        ("attempts", attempts.map(Value::from)),
        ("redrives", redrives.map(Value::from)),
        ("certificate_sha256", certificate.map(|digest| hex::encode(digest).into())),
        ("tombstone", tombstone.map(|tag| hex::encode(tag).into())),
        (
            "claimed_org_id",
            claimed.filter(|_| step.tenant.as_ref() != claimed_home(step)).map(|c| c.to_string().into()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The envelope's own tenant, when the line stands under it anyway.
fn claimed_home<'s>(step: &'s Step<'_>) -> Option<&'s TenantId> {
    step.parcel.opened.as_ref().and_then(|opened| opened.envelope.org_id.as_ref())
}

impl OutboxRow {
    /// An audit event as a sealed message to the audit queue; its message id is the event id.
    pub(super) fn audit(
        signer: &Signer,
        event: &AuditEvent,
        now: Timestamp,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let wire = seal_event(signer, event, now)?;
        Ok(Self { id: Uuid::now_v7(), route: Route::audit(), wire: std::sync::Arc::new(wire) })
    }
}

fn seal_event(
    signer: &Signer,
    event: &AuditEvent,
    now: Timestamp,
) -> Result<WireMessage, Box<dyn std::error::Error + Send + Sync>> {
    let body = event.render().map_err(|fault: AuditLineFault| fault)?;
    let envelope = Envelope {
        message_id: MessageId::from(event.event_id),
        message_type: MessageType::audit_event(),
        schema_version: 1,
        content_type: "application/json".to_owned(),
        org_id: TenantId::parse(&event.org_id).ok(),
        principal: Principal::system(signer.publisher().as_str()),
        token: None,
        origin: None,
        dedupe_key: None,
        correlation_id: None,
        causation_id: None,
        issued_at: now,
        expected_version: None,
    };
    Ok(signer.seal(&envelope, Lane::Main, body)?)
}
