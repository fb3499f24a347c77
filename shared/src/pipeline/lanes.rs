//! The lanes of a worker process: each takes batches from one queue over a channel of its own, settles them, acks.
//!
//! Two lanes serve main, two serve overflow and one the broker's dead letters, so none waits behind another. While main
//! is busy, overflow takes small batches: it is never starved, and never in the way for long.
//! Whatever breaks on the broker's side drops the whole session and builds a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::egress::AT_ONCE;
use super::outbox::{Outbox, OutboxRow};
use super::road::{Progress, Road, RoadFault};
use crate::amqp::{AmqpFault, Batch, Consumer, Dialer, Redelivered, Redial, Session};
use crate::chaos::{self, Point};
use crate::contract::{Lane, Topology, WorkerName};
use crate::db::DbFault;
use crate::lifecycle::Drain;
use crate::retry::RetrySchedule;
use crate::telemetry::chain;

/// Most messages of a batch.
const BATCH: usize = 256;
/// Most messages of an overflow batch while main has one in flight.
const YIELDING_BATCH: usize = 32;
/// What the broker hands a lane in advance: the batch in flight and the next.
const PREFETCH: u16 = 512;
/// What every worker consumes, over a channel for each entry.
const WORK: [Duty; 4] = [Duty::Main, Duty::Main, Duty::Overflow, Duty::Overflow];
/// Dead letters come over a connection of their own: one that breaks its connection must not end the work.
const DEAD: [Duty; 1] = [Duty::Dead];
/// How long a drain waits for the COMMIT in flight before it rolls back.
const COMMIT_GRACE: Duration = Duration::from_secs(3);

/// Why the lanes ended by themselves.
#[derive(Debug, thiserror::Error)]
pub enum LanesFault {
    /// What waiting does not heal, such as a role above row-level security.
    #[error(transparent)]
    Road(#[from] RoadFault),
    /// A lane panicked.
    #[error("a lane died")]
    Died(#[from] tokio::task::JoinError),
}

/// Which queue a lane serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Main,
    Overflow,
    Dead,
}

impl Duty {
    fn queue(self, worker: &WorkerName) -> String {
        match self {
            Self::Main => Topology::work_queue(worker, Lane::Main),
            Self::Overflow => Topology::work_queue(worker, Lane::Overflow),
            Self::Dead => Topology::DEAD_QUEUE.to_owned(),
        }
    }
}

/// How many main batches are in flight, which is what overflow yields to.
#[derive(Debug, Clone, Default)]
struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// Counts a main batch until it is dropped.
    fn with(&self, duty: Duty) -> Option<InFlight> {
        (duty == Duty::Main).then(|| {
            self.0.fetch_add(1, Ordering::Relaxed);
            InFlight(self.clone())
        })
    }

    /// Most messages that a lane should take now.
    fn most(&self, duty: Duty, calling: bool) -> usize {
        match duty {
            _ if calling => AT_ONCE,
            Duty::Overflow if self.0.load(Ordering::Relaxed) > 0 => YIELDING_BATCH,
            _ => BATCH,
        }
    }
}

struct InFlight(Busy);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a lane stopped.
enum Ended {
    Drained,
    Lost(AmqpFault),
    Broken(RoadFault),
}

/// All lanes of one process.
#[derive(Debug)]
pub struct Lanes {
    road: Arc<Road>,
    dialer: Dialer,
    outbox: Outbox,
    consuming: Arc<AtomicBool>,
    busy: Busy,
}

impl Lanes {
    /// Puts them together; nothing runs yet.
    pub fn new(road: Road, dialer: Dialer, outbox: Outbox) -> Self {
        Self { road: Arc::new(road), dialer, outbox, consuming: Arc::default(), busy: Busy::default() }
    }

    /// True while every lane has its consumer.
    pub fn consuming(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.consuming)
    }

    /// Runs until the drain is done. Broker and database may go and come back.
    ///
    /// # Errors
    /// [`LanesFault`]: only what waiting does not heal.
    pub async fn run(self, drain: &Drain) -> Result<(), LanesFault> {
        let due = async {
            self.road.seal_due(&self.outbox, drain).await;
            Ok(())
        };
        tokio::try_join!(self.keep(&WORK, drain), self.keep(&DEAD, drain), due).map(|_| ())
    }

    /// What calls is handed the batch in flight alone: whatever waits behind a slow call, another process can take.
    fn prefetch(&self) -> u16 {
        if self.road.calling() { u16::try_from(AT_ONCE).unwrap_or(PREFETCH) } else { PREFETCH }
    }

    /// Keeps a connection with consumers of these queues until the drain is done.
    async fn keep(&self, duties: &[Duty], drain: &Drain) -> Result<(), LanesFault> {
        let mut redial = Redial::default();
        while !drain.begun() {
            let began = Instant::now();
            let fault = match Session::connect(&self.dialer).await {
                Ok(session) => match self.session(session, duties, redial.prefetch(self.prefetch()), drain).await? {
                    None => return Ok(()),
                    Some(fault) => fault,
                },
                Err(fault) => fault,
            };
            tracing::warn!(error = chain(&fault), "not consuming");
            tokio::select! {
                () = tokio::time::sleep(redial.pause(began.elapsed(), &fault)) => {}
                () = drain.started() => {}
            }
        }
        Ok(())
    }

    /// One life of the consuming connection: `None` when drained, else what broke it.
    async fn session(
        &self,
        session: Session,
        duties: &[Duty],
        prefetch: u16,
        drain: &Drain,
    ) -> Result<Option<AmqpFault>, LanesFault> {
        let working = duties != DEAD;
        let mut lanes = JoinSet::new();
        let stop = CancellationToken::new();
        for duty in duties {
            let queue = duty.queue(&self.road.worker);
            match session.consume(&queue, if *duty == Duty::Dead { 1 } else { prefetch }).await {
                Ok(consumer) => {
                    let lane = LaneLoop {
                        road: Arc::clone(&self.road),
                        outbox: self.outbox.clone(),
                        duty: *duty,
                        busy: self.busy.clone(),
                        drain: drain.clone(),
                        stop: stop.clone(),
                    };
                    lanes.spawn(lane.run(consumer));
                }
                Err(fault) => return Ok(Some(fault)),
            }
        }
        if working {
            self.consuming.store(true, Ordering::Relaxed);
        }
        let mut lost = None;
        while let Some(ended) = lanes.join_next().await {
            if working {
                self.consuming.store(false, Ordering::Relaxed);
            }
            match ended? {
                // The others have their own grace: one that is idle ends at once, one with a COMMIT in flight does not.
                Ended::Drained => continue,
                Ended::Lost(fault) if fault.is_unreadable() => lost = Some(fault),
                Ended::Lost(fault) => lost = lost.or(Some(fault)),
                Ended::Broken(fault) => return Err(fault.into()),
            }
            stop.cancel();
        }
        session.close().await;
        Ok(lost.filter(|_| !drain.begun()))
    }
}

struct LaneLoop {
    road: Arc<Road>,
    outbox: Outbox,
    duty: Duty,
    busy: Busy,
    drain: Drain,
    stop: CancellationToken,
}

impl LaneLoop {
    async fn run(self, mut consumer: Consumer) -> Ended {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.drain.started() => return Ended::Drained,
                () = self.stop.cancelled() => return Ended::Drained,
                batch = consumer.next_batch(|| self.busy.most(self.duty, self.road.calling()), Redelivered::Apart) => match batch {
                    Ok(batch) => batch,
                    Err(fault) => return Ended::Lost(fault),
                },
            };
            let in_flight = self.busy.with(self.duty);
            let rows = tokio::select! {
                settled = self.settle(&batch) => match settled {
                    Ok(rows) => rows,
                    Err(fault) => return Ended::Broken(fault),
                },
                () = self.grace_over() => return Ended::Drained,
                // The connection is gone, and with it the right to ack: the broker delivers again.
                () = self.stop.cancelled() => return Ended::Drained,
            };
            drop(in_flight);
            chaos::pass(Point::BeforeAck);
            if let Err(fault) = batch.ack().await {
                self.outbox.publish(rows).await;
                return Ended::Lost(fault);
            }
            self.outbox.publish(rows).await;
        }
    }

    /// Settles the batch, waiting as long as the database is away: the deliveries stay unacked, nothing is counted,
    /// and no further ones are taken.
    async fn settle(&self, batch: &Batch) -> Result<Vec<OutboxRow>, RoadFault> {
        let mut delays = RetrySchedule::connections().delays();
        let mut progress = Progress::default();
        loop {
            let settled = match self.duty {
                Duty::Main | Duty::Overflow => self.road.process(&batch.deliveries, &mut progress).await,
                Duty::Dead => self.road.condemn(&batch.deliveries, &mut progress).await,
            };
            match settled {
                Err(RoadFault::Database(fault)) if waits(&fault) => {
                    tracing::warn!(error = chain(&fault), "the batch waits");
                    tokio::time::sleep(delays.next_delay()).await;
                }
                settled => return settled.map(|()| progress.rows),
            }
        }
    }

    async fn grace_over(&self) {
        self.drain.started().await;
        tokio::select! {
            () = tokio::time::sleep(COMMIT_GRACE) => {}
            () = self.drain.escalated() => {}
        }
    }
}

/// Everything heals by waiting, except a role above row-level security and missing configuration: a statement that
/// fails without a message to blame is a migration or a grant that is yet to come.
fn waits(fault: &DbFault) -> bool {
    !matches!(fault, DbFault::Role(_) | DbFault::NotConfigured(_))
}
