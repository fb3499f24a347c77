//! The road itself, on one screen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::fate::Fate;
use super::open::{MessageName, Parcel};
use super::outbox::OutboxRow;
use super::{Handlers, bury, claim, dispatch, due, egress, emit, erased, operations, park, resolve, turns};
use crate::amqp::Delivered;
use crate::chaos::{self, Point};
use crate::config::RetryConfig;
use crate::contract::{AuditEventKey, CheckedContract, Keyring, RoleTable, Signer, TenantId, Timestamp, WorkerName};
use crate::db::{AppPool, BatchTx, ContextKey, DbFault};
use crate::telemetry::{chain, fields};

/// A body beyond this size may take longer to store than a statement has.
pub(super) const LARGE_BODY: usize = 1 << 20;
/// How long that may take.
pub(super) const LARGE_BODY_TIME: Duration = Duration::from_secs(60);

/// How often messages wait again for their tenant's turn, each time as long as the role may wait for a lock, before they make
/// room for others.
const MOST_WAITS: usize = 4;

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
    /// Lets one message at a time run that may have killed its process.
    pub suspects: Suspects,
}

/// Whose turn it is among the messages of a process that were in flight at two of its ends or more. Two of them side by
/// side would be charged with each other's crashes.
#[derive(Debug, Default)]
pub struct Suspects(tokio::sync::Mutex<()>);

/// Why a batch could not be settled. Something of it is not committed, so nothing may be acked.
#[derive(Debug, thiserror::Error)]
pub enum RoadFault {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbFault),
    /// A message of our own, such as an audit event, could not be rendered, routed or sealed.
    #[error("cannot render, route or seal a message of our own")]
    Audit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A handler's form for several messages named a fate, was too slow, or did not answer for each of them. One by one
    /// each has a fate of its own.
    #[error("messages could not be applied together")]
    Together,
}

/// What is done of a batch, which may take several transactions. Kept with the deliveries: whatever is committed is not
/// begun anew when the rest has to wait for the database.
#[derive(Debug)]
pub struct Progress {
    /// What this execution is counted under, however often its count has to be sent.
    execution: Uuid,
    /// Messages whose execution is counted.
    counted: BTreeSet<MessageName>,
    /// Messages whose fate is committed.
    settled: BTreeSet<MessageName>,
    /// Outbox rows that are committed, to publish now.
    pub(super) rows: Vec<OutboxRow>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { execution: Uuid::now_v7(), counted: BTreeSet::new(), settled: BTreeSet::new(), rows: Vec::new() }
    }
}

/// A parcel in one run of its batch. Nothing here outlives a rollback.
pub(super) struct Step<'p> {
    /// Where the parcel stands in its batch.
    pub(super) place: usize,
    pub(super) parcel: &'p Parcel,
    pub(super) tenant: Option<TenantId>,
    pub(super) fate: Option<Fate>,
    /// Dead under this code and with these attempts, unless the inbox knows it.
    pub(super) condemned: Option<(&'static str, i32)>,
}

impl<'p> Step<'p> {
    pub(super) fn new((place, parcel): (usize, &'p Parcel)) -> Self {
        Self { place, parcel, tenant: None, fate: parcel.fate.clone(), condemned: parcel.condemned }
    }
}

/// Messages by their place in the batch, with the fate that their failure gave them.
pub(super) type Culprits = Vec<(usize, Fate)>;

/// Why a run was rolled back.
pub(super) enum Interrupted {
    /// These messages failed; the others deserve a run without them.
    Culprits(Culprits),
    /// Others are at every tenant that is left; these messages' turn has not come in time.
    Busy(Vec<usize>),
    /// Something failed that names no message.
    Fault(RoadFault),
}

impl<E: Into<RoadFault>> From<E> for Interrupted {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

impl Road {
    /// Settles a batch, in one transaction or a few. All of the deliveries may be acked once this is `Ok`.
    ///
    /// # Errors
    /// [`RoadFault`]; something is not committed, and no attempt is burned when the database is merely away. Calling it
    /// again with the same `progress` goes on from there.
    pub async fn process(&self, deliveries: &[Delivered], progress: &mut Progress) -> Result<(), RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let opened = deliveries.iter().map(|delivered| self.open(delivered, now));
        let parcels: Vec<Parcel> = opened.filter(|parcel| !progress.settled.contains(&parcel.name())).collect();
        if parcels.iter().any(Parcel::runs_again) {
            self.settle_redelivered(parcels, now, progress).await
        } else {
            self.settle(parcels, now, progress).await
        }
    }

    /// Settles what was in flight when its process ended, or lost its connection. Each execution is counted by a commit of
    /// its own before it begins, so that a message which kills its process is counted. Messages go on together the first
    /// time; from the second time on each runs alone, so that its neighbours are not charged with it.
    async fn settle_redelivered(
        &self,
        parcels: Vec<Parcel>,
        now: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), RoadFault> {
        let attempts = self.patiently(park::attempts(self, &parcels)).await?;
        let earlier = |parcel: &Parcel| {
            let name = parcel.name();
            attempts.get(&name).map_or(0, |attempts| attempts - i32::from(progress.counted.contains(&name)))
        };
        // With fewer than three attempts nobody could be cleared by running alone.
        let is_suspect = |parcel: &Parcel| parcel.runs_again() && (earlier(parcel) > 0 || self.max_attempts() < 3);
        let (suspects, mut together): (Vec<_>, Vec<_>) = parcels.into_iter().partition(is_suspect);
        self.count_executions(&mut together, &attempts, progress).await?;
        tracing::info!(together = together.len(), alone = suspects.len(), "messages come again");
        self.settle(together, now, progress).await?;
        for suspect in suspects {
            let _turn = self.suspects.0.lock().await;
            let mut alone = vec![suspect];
            self.count_executions(&mut alone, &attempts, progress).await?;
            tracing::warn!(message.id = %alone[0].message_id(), "was in flight when its process ended, and runs alone");
            self.settle(alone, now, progress).await?;
        }
        Ok(())
    }

    /// Counts the executions that are about to begin, where they are not counted yet. A message that has had all of its
    /// attempts is condemned.
    async fn count_executions(
        &self,
        parcels: &mut [Parcel],
        attempts: &BTreeMap<MessageName, i32>,
        progress: &mut Progress,
    ) -> Result<(), RoadFault> {
        let uncounted = |parcel: &&Parcel| parcel.runs_again() && !progress.counted.contains(&parcel.name());
        let counting = park::count_executions(self, progress.execution, parcels.iter().filter(uncounted));
        let fresh = self.patiently(counting).await?;
        progress.counted.extend(fresh.keys().cloned());
        for parcel in parcels.iter_mut().filter(|parcel| parcel.runs_again()) {
            parcel.counted = true;
            let name = parcel.name();
            let executions = fresh.get(&name).or(attempts.get(&name)).copied().unwrap_or(1);
            // They include the execution that is about to begin.
            if executions > self.max_attempts() {
                parcel.condemned = Some(("crash_loop", executions - 1));
            }
        }
        Ok(())
    }

    /// Does it call to the outside?
    pub(super) fn calling(&self) -> bool {
        self.handlers.calling()
    }

    /// Executions before a message is dead.
    pub(super) fn max_attempts(&self) -> i32 {
        i32::try_from(self.retry.max_attempts).unwrap_or(i32::MAX)
    }

    /// Settles what the broker gave up on: dead, unless the inbox knows better.
    ///
    /// # Errors
    /// As [`Road::process`].
    pub async fn condemn(&self, deliveries: &[Delivered], progress: &mut Progress) -> Result<(), RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let opened = deliveries.iter().map(|delivered| self.given_up(delivered, now));
        let parcels: Vec<Parcel> = opened.filter(|parcel| !progress.settled.contains(&parcel.name())).collect();
        self.settle(parcels, now, progress).await
    }

    /// Bounds one transaction: the server bounds every statement, so one that takes longer has a silent peer.
    pub(super) async fn patiently<T>(&self, work: impl Future<Output = Result<T, DbFault>>) -> Result<T, DbFault> {
        tokio::time::timeout(self.pool.patience(), work).await.unwrap_or_else(|_| Err(DbFault::silent()))
    }

    /// Runs the batch as often as it takes: for tenants that others were at, without its culprits, in halves when nobody
    /// can be named. Calls to the outside come last, when the others are committed.
    pub(super) async fn settle(
        &self,
        parcels: Vec<Parcel>,
        now: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), RoadFault> {
        let (calls, mut parcels) = egress::apart(parcels);
        let mut waits = 0;
        while !parcels.is_empty() {
            let run = tokio::time::timeout(self.pool.patience(), self.run(&parcels, now, &mut progress.rows)).await;
            match run.unwrap_or_else(|_| Err(Interrupted::Fault(DbFault::silent().into()))) {
                Ok(later) => {
                    let settled = parcels.iter().enumerate().filter(|(place, _)| !later.contains(place));
                    progress.settled.extend(settled.map(|(_, parcel)| parcel.name()));
                    (parcels, waits) = (only(parcels, &later), 0);
                }
                Err(Interrupted::Culprits(culprits)) => {
                    for (place, fate) in culprits {
                        parcels[place].fate = Some(fate);
                    }
                }
                Err(Interrupted::Busy(_)) if waits < MOST_WAITS => waits += 1,
                Err(Interrupted::Busy(places)) => {
                    places.into_iter().for_each(|place| parcels[place].fate = Some(dispatch::CONTENDED));
                }
                Err(Interrupted::Fault(fault)) => {
                    Box::pin(self.divide(parcels, fault, now, progress)).await?;
                    break;
                }
            }
        }
        if calls.is_empty() { Ok(()) } else { self.settle_calls(calls, now, progress).await }
    }

    /// After a fault that names no message: each half by itself, where that can help, and one message as its own culprit.
    async fn divide(
        &self,
        mut parcels: Vec<Parcel>,
        fault: RoadFault,
        now: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), RoadFault> {
        match (&fault, parcels.len()) {
            (RoadFault::Database(database), _) if !smaller_helps(database) => Err(fault),
            // One message whose handler is not to blame: somebody holds a table of the engine's, and it waits.
            (RoadFault::Database(DbFault::Contended(_)), 1) => Err(fault),
            (_, 1) if parcels[0].fate.is_some() || parcels[0].given_up => Err(fault),
            (_, 1) => {
                tracing::warn!(message.id = %parcels[0].message_id(), error = chain(&fault), "a settlement failed");
                parcels[0].fate = Some(Fate::retry("unexplained"));
                self.settle(parcels, now, progress).await
            }
            (_, many) => {
                let right = parcels.split_off(many / 2);
                self.settle(parcels, now, progress).await?;
                self.settle(right, now, progress).await
            }
        }
    }

    /// One transaction: resolve, take turns, claim, scope, authorize, handle, park, bury, record, emit, COMMIT. Returns the
    /// places of messages that have to wait for another one, because others are at their tenants.
    async fn run(
        &self,
        parcels: &[Parcel],
        now: Timestamp,
        rows: &mut Vec<OutboxRow>,
    ) -> Result<Vec<usize>, Interrupted> {
        let began = std::time::Instant::now();
        let mut steps: Vec<Step<'_>> = parcels.iter().enumerate().map(Step::new).collect();
        let mut tx = BatchTx::begin(&self.pool, &self.context).await?;
        bury::recognize(&mut tx, &mut steps).await?;
        bury::pardon(&mut tx, &mut steps).await?;
        resolve::tenants(&mut tx, &mut steps).await?;
        let later = turns::take(&mut tx, &mut steps).await?;
        claim::claim(&mut tx, &mut steps).await?;
        chaos::pass(Point::AfterClaim);
        if let Err(interrupted) = dispatch::dispatch(self, &mut tx, &mut steps).await {
            // The rollback may fail with the connection; dropping it rolls back all the same.
            let _ = tx.roll_back().await;
            return Err(interrupted);
        }
        if steps.iter().any(|step| step.parcel.wire.body.len() > LARGE_BODY) {
            tx.allow(LARGE_BODY_TIME).await.map_err(DbFault::from)?;
        }
        erased::condemn(&mut tx, &mut steps).await?;
        park::park(self, &mut tx, &mut steps, now).await?;
        bury::bury(self, &mut tx, &mut steps).await?;
        operations::record(&mut tx, &steps, now).await?;
        due::keep(&mut tx, &steps).await?;
        let emitted = emit::emit(self, &mut tx, &steps, now).await?;
        chaos::pass(Point::BeforeCommit);
        tx.commit().await?;
        chaos::pass(Point::AfterCommit);
        rows.extend(emitted);
        self.count(&steps, began.elapsed());
        Ok(later)
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
                    let outcome = outcome.as_str();
                    if let Some(code) = fate.code() {
                        let worker = worker.clone();
                        metrics::counter!(fields::SETTLED_CODE, "worker" => worker, "outcome" => outcome, "code" => code)
                            .increment(1);
                    }
                    metrics::counter!(fields::SETTLED, "worker" => worker, "outcome" => outcome).increment(1);
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

/// The parcels at these places.
fn only(parcels: Vec<Parcel>, places: &[usize]) -> Vec<Parcel> {
    parcels.into_iter().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, parcel)| parcel).collect()
}

/// A statement that failed, or a scope that was tampered with: some message of the batch did it. Or a race for locks, which
/// a smaller batch is less likely to lose.
fn smaller_helps(fault: &DbFault) -> bool {
    matches!(fault, DbFault::Statement(_) | DbFault::ContextChanged | DbFault::ScopeOpen | DbFault::Contended(_))
}
