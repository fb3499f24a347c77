//! The road itself, on one screen.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

use super::fate::Fate;
use super::open::Parcel;
use super::outbox::OutboxRow;
use super::{Handlers, bury, claim, dispatch, emit, operations, park, resolve};
use crate::amqp::Delivered;
use crate::chaos::{self, Point};
use crate::config::RetryConfig;
use crate::contract::{AuditEventKey, CheckedContract, Keyring, RoleTable, Signer, TenantId, Timestamp, WorkerName};
use crate::db::{AppPool, BatchTx, ContextKey, DbFault};
use crate::telemetry::{chain, fields};

/// A body beyond this size may take longer to store than a statement has.
const LARGE_BODY: usize = 1 << 20;
/// How long that may take.
const LARGE_BODY_TIME: Duration = Duration::from_secs(60);

/// Everything a worker decides with.
#[derive(Debug)]
pub struct Road {
    /// Whose messages.
    pub worker: WorkerName,
    /// What they mean.
    pub contract: CheckedContract,
    /// Opens seals.
    pub keyring: Keyring,
    /// Seals audit events.
    pub signer: Signer,
    /// Names audit events.
    pub event_key: AuditEventKey,
    /// Applies payloads.
    pub handlers: Handlers,
    /// Where.
    pub pool: AppPool,
    /// Seals the tenant context.
    pub context: ContextKey,
    /// How often a failure is tried again.
    pub retry: RetryConfig,
}

/// Why a batch could not be settled. Nothing of it is committed, so nothing may be acked.
#[derive(Debug, thiserror::Error)]
pub enum RoadFault {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbFault),
    /// An audit event could not be rendered or sealed.
    #[error("cannot write the audit event of a settlement")]
    Audit(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Attempts of a batch's redelivered messages, by their place. Kept with the deliveries: each is counted once, however
/// often the batch has to wait for the database.
#[derive(Debug, Default)]
pub struct Counted(BTreeMap<usize, i32>);

/// A parcel in one run of its batch. Nothing here outlives a rollback.
pub(super) struct Step<'p> {
    pub(super) parcel: &'p Parcel,
    pub(super) tenant: Option<TenantId>,
    pub(super) fate: Option<Fate>,
}

/// Messages by their place in the batch, with the fate that their failure gave them.
pub(super) type Culprits = Vec<(usize, Fate)>;

/// Why a run was rolled back.
pub(super) enum Interrupted {
    /// These messages failed; the others deserve a run without them.
    Culprits(Culprits),
    /// Something failed that names no message.
    Fault(RoadFault),
}

impl<E: Into<RoadFault>> From<E> for Interrupted {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

impl Road {
    /// Settles a batch in one transaction and returns the outbox rows it committed, to publish now. All of the
    /// deliveries may be acked once this is `Ok`.
    ///
    /// # Errors
    /// [`RoadFault`]; nothing is committed, and no attempt is burned when the database is merely away.
    pub async fn process(&self, deliveries: &[Delivered], counted: &mut Counted) -> Result<Vec<OutboxRow>, RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let mut parcels: Vec<Parcel> = deliveries.iter().map(|delivered| self.open(delivered, now)).collect();
        for (place, parcel) in parcels.iter_mut().enumerate().filter(|(_, parcel)| parcel.runs_again()) {
            let attempts = match counted.0.get(&place) {
                Some(attempts) => *attempts,
                None => park::count_redelivered(self, parcel).await?,
            };
            counted.0.insert(place, attempts);
            parcel.counted = true;
            // The count includes the execution that is about to begin.
            if attempts > self.max_attempts() {
                parcel.condemned = Some(("crash_loop", attempts - 1));
            }
        }
        self.settle(&mut parcels, now).await
    }

    /// Executions before a message is dead.
    pub(super) fn max_attempts(&self) -> i32 {
        i32::try_from(self.retry.max_attempts).unwrap_or(i32::MAX)
    }

    /// Settles what the broker gave up on: dead, unless the inbox knows better.
    ///
    /// # Errors
    /// As [`Road::process`].
    pub async fn condemn(&self, deliveries: &[Delivered]) -> Result<Vec<OutboxRow>, RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let mut parcels: Vec<Parcel> = deliveries.iter().map(|delivered| self.given_up(delivered, now)).collect();
        self.settle(&mut parcels, now).await
    }

    /// Runs the batch, without its culprits the second time, in halves when nobody can be named.
    async fn settle(&self, parcels: &mut [Parcel], now: Timestamp) -> Result<Vec<OutboxRow>, RoadFault> {
        loop {
            match self.run(parcels, now).await {
                Ok(rows) => return Ok(rows),
                Err(Interrupted::Culprits(culprits)) => {
                    for (place, fate) in culprits {
                        parcels[place].fate = Some(fate);
                    }
                }
                Err(Interrupted::Fault(RoadFault::Database(fault))) if !blames_a_message(&fault) => {
                    return Err(fault.into());
                }
                Err(Interrupted::Fault(fault)) => match parcels {
                    [one] if one.fate.is_none() => {
                        tracing::warn!(message.id = %one.message_id(), error = chain(&fault), "a settlement failed");
                        one.fate = Some(Fate::Retry { code: "unexplained" });
                    }
                    [_] | [] => return Err(fault),
                    many => {
                        let (left, right) = many.split_at_mut(many.len() / 2);
                        let mut rows = Box::pin(self.settle(left, now)).await?;
                        rows.extend(Box::pin(self.settle(right, now)).await?);
                        return Ok(rows);
                    }
                },
            }
        }
    }

    /// One transaction: resolve, claim, scope, authorize, handle, park, bury, record, emit, COMMIT.
    async fn run(&self, parcels: &[Parcel], now: Timestamp) -> Result<Vec<OutboxRow>, Interrupted> {
        let began = std::time::Instant::now();
        let mut steps: Vec<Step<'_>> =
            parcels.iter().map(|parcel| Step { parcel, tenant: None, fate: parcel.fate.clone() }).collect();
        let mut tx = BatchTx::begin(&self.pool, &self.context).await?;
        resolve::tenants(&mut tx, &mut steps).await?;
        claim::claim(&mut tx, &mut steps).await?;
        chaos::pass(Point::AfterClaim);
        if let Err(interrupted) = dispatch::dispatch(self, &mut tx, &mut steps).await {
            // The rollback may fail with the connection; dropping it rolls back all the same.
            let _ = tx.roll_back().await;
            return Err(interrupted);
        }
        if steps.iter().any(|step| step.parcel.wire.body.len() > LARGE_BODY) {
            tx.allow(LARGE_BODY_TIME).await?;
        }
        park::park(self, &mut tx, &mut steps, now).await?;
        bury::bury(self, &mut tx, &mut steps).await?;
        operations::record(&mut tx, &steps, now).await?;
        let rows = emit::emit(self, &mut tx, &steps, now).await?;
        chaos::pass(Point::BeforeCommit);
        tx.commit().await?;
        chaos::pass(Point::AfterCommit);
        self.count(&steps, began.elapsed());
        Ok(rows)
    }

    /// The role table in force.
    pub(super) fn roles(&self) -> &RoleTable {
        self.contract.roles()
    }

    fn count(&self, steps: &[Step<'_>], took: Duration) {
        let worker = self.worker.to_string();
        metrics::histogram!(fields::BATCH_SECONDS, "worker" => worker.clone()).record(took);
        metrics::histogram!(fields::BATCH_MESSAGES, "worker" => worker.clone()).record(steps.len() as f64);
        for fate in steps.iter().filter_map(|step| step.fate.as_ref()) {
            let worker = worker.clone();
            match (fate, fate.outcome()) {
                (_, Some(outcome)) => {
                    metrics::counter!(fields::SETTLED, "worker" => worker, "outcome" => outcome.as_str()).increment(1);
                }
                (Fate::Duplicate, _) => metrics::counter!(fields::DUPLICATES, "worker" => worker).increment(1),
                _ => {
                    let reason = fate.code().unwrap_or("none");
                    metrics::counter!(fields::PARKED, "worker" => worker, "reason" => reason).increment(1);
                }
            }
        }
    }
}

/// A statement that failed, or a scope that was tampered with: some message of the batch did it.
fn blames_a_message(fault: &DbFault) -> bool {
    matches!(fault, DbFault::Statement(_) | DbFault::ContextChanged | DbFault::ScopeOpen)
}
