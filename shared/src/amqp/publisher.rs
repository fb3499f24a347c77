//! Confirmed publishing over one connection that is rebuilt whole on any error.
//!
//! A supervisor owns the connection; each lane (see [`super::lane`]) owns one confirm channel of it. A success
//! is exactly the broker's ack of a message that it did not return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::{Connection, Event};
use metrics::Counter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::connect::{Dialer, close};
use super::lane;
use super::redial::Redial;
use crate::contract::{Exchange, Field, Route, WireMessage};
use crate::telemetry::{chain, fields};

/// Channels of one publisher's connection.
const LANES: usize = 2;
/// Publishes that may wait for room in a channel's window, before the next one is refused.
const WAITING: usize = 4 * lane::WINDOW;

/// Why a publish is no success. After [`PublishFault::Unknown`] and [`PublishFault::TimedOut`] the message may be
/// queued all the same: publish it again with the same message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// No connection at the moment.
    #[error("no connection to the broker")]
    Unavailable,
    /// The broker raised a memory or disk alarm.
    #[error("the broker blocks publishers (memory or disk alarm)")]
    Blocked,
    /// Every channel's window is full.
    #[error("too many unconfirmed messages")]
    Overloaded,
    /// No queue takes this route: the topology is incomplete.
    #[error("no queue takes the message; apply the topology with: millrace topology")]
    Unroutable,
    /// The broker said no, as a full queue does.
    #[error("the broker refused the message")]
    Refused,
    /// No confirm in time.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// The connection broke before the confirm came.
    #[error("the connection broke before the confirm")]
    Unknown,
}

impl PublishFault {
    /// Label of metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Blocked => "blocked",
            Self::Overloaded => "overloaded",
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }
}

/// One publish on its way through a lane.
pub(super) struct Request {
    pub(super) route: Route,
    pub(super) message: Arc<WireMessage>,
    pub(super) answer: oneshot::Sender<Result<(), PublishFault>>,
}

/// One life of the connection. Whoever meets an error cancels `lost`, and everything of this life ends.
#[derive(Clone)]
pub(super) struct Epoch {
    pub(super) connection: Arc<Connection>,
    pub(super) lost: CancellationToken,
    blocked: Arc<AtomicBool>,
}

/// Publishes with confirms. Cloning shares the connection.
#[derive(Clone)]
pub struct Publisher {
    lanes: Arc<[mpsc::Sender<Request>]>,
    next: Arc<AtomicUsize>,
    epoch: watch::Receiver<Option<Epoch>>,
    timeout: Duration,
    /// Of [`fields::PUBLISHED`]: looked up once, for it counts every message.
    confirmed: Counter,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("connected", &self.epoch.borrow().is_some()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts connecting in the background and never gives up; `timeout` bounds each publish as a whole. The metrics
    /// recorder must be in place.
    pub fn start(dialer: Dialer, timeout: Duration) -> Self {
        let (announce, epoch) = watch::channel(None);
        let lanes = (0..LANES)
            .map(|_| {
                let (sender, requests) = mpsc::channel(WAITING);
                tokio::spawn(lane::run(requests, epoch.clone()));
                sender
            })
            .collect();
        tokio::spawn(supervise(dialer, announce));
        let confirmed = metrics::counter!(fields::PUBLISHED, "result" => "confirmed");
        Self { lanes, next: Arc::default(), epoch, timeout, confirmed }
    }

    /// Resolves when there is a connection.
    pub async fn connected(&self) {
        let mut epoch = self.epoch.clone();
        // An error means that the supervisor is gone with the runtime.
        let _ = epoch.wait_for(Option::is_some).await;
    }

    /// Publishes persistent, mandatory where the route says so, and waits for the broker's confirm.
    ///
    /// # Errors
    /// [`PublishFault`]; only `Ok` means that a queue holds the message.
    pub async fn publish(&self, route: Route, message: Arc<WireMessage>) -> Result<(), PublishFault> {
        let result = match tokio::time::timeout(self.timeout, self.enqueue(route, message)).await {
            Ok(result) => result,
            Err(_) => Err(PublishFault::TimedOut),
        };
        match result {
            Ok(()) => self.confirmed.increment(1),
            Err(fault) => metrics::counter!(fields::PUBLISHED, "result" => fault.code()).increment(1),
        }
        result
    }

    /// Does the broker confirm publishes right now? Sends a message that no queue takes, so that nothing is left.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn probe(&self) -> Result<(), PublishFault> {
        let mut message = WireMessage::default();
        let id = format!("probe-{}", self.next.fetch_add(1, Ordering::Relaxed));
        if message.set(Field::MessageId, id).is_err() {
            return Err(PublishFault::Unknown);
        }
        let route = Route { exchange: Exchange::Work.name().to_owned(), routing_key: "ready-probe".to_owned() };
        match tokio::time::timeout(self.timeout, self.enqueue(route, Arc::new(message))).await {
            Ok(Err(PublishFault::Unroutable)) => Ok(()),
            Ok(Ok(())) => Err(PublishFault::Unknown),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(PublishFault::TimedOut),
        }
    }

    async fn enqueue(&self, route: Route, message: Arc<WireMessage>) -> Result<(), PublishFault> {
        match &*self.epoch.borrow() {
            None => return Err(PublishFault::Unavailable),
            Some(epoch) if epoch.blocked.load(Ordering::Relaxed) => return Err(PublishFault::Blocked),
            Some(_) => {}
        }
        let (answer, confirm) = oneshot::channel();
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        self.lanes[lane].try_send(Request { route, message, answer }).map_err(|_| PublishFault::Overloaded)?;
        confirm.await.unwrap_or(Err(PublishFault::Unknown))
    }
}

/// Dials, announces, waits for the loss, and again; ends when every [`Publisher`] and lane is gone.
async fn supervise(dialer: Dialer, announce: watch::Sender<Option<Epoch>>) {
    let mut redial = Redial::default();
    while !announce.is_closed() {
        let began = Instant::now();
        match dialer.dial().await {
            Ok(connection) => {
                live(Arc::new(connection), &announce).await;
                tracing::warn!("publishing connection lost; dialing again");
            }
            Err(fault) => tracing::warn!(error = chain(&fault), "cannot reach the broker"),
        }
        tokio::select! {
            () = tokio::time::sleep(redial.pause_after(began.elapsed())) => {}
            () = announce.closed() => {}
        }
    }
}

/// One life of the connection, from its announcement to its end.
async fn live(connection: Arc<Connection>, announce: &watch::Sender<Option<Epoch>>) {
    let epoch = Epoch { connection, lost: CancellationToken::new(), blocked: Arc::default() };
    let mut events = Box::pin(epoch.connection.events_listener());
    let _ = announce.send(Some(epoch.clone()));
    loop {
        tokio::select! {
            () = epoch.lost.cancelled() => break,
            () = announce.closed() => break,
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(_)) => epoch.blocked.store(true, Ordering::Relaxed),
                Some(Event::ConnectionUnblocked) => epoch.blocked.store(false, Ordering::Relaxed),
                Some(Event::Error(_)) | None => break,
                Some(_) => {}
            },
        }
    }
    let _ = announce.send(None);
    epoch.lost.cancel();
    close(&epoch.connection).await;
}
