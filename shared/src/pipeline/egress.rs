//! Egress: a call to the outside, in the place of a handler.
//!
//! It reads in a transaction that ends before the call, calls without one, and its answer is a new message, stored in the
//! transaction that settles the call. Between the two the process may die: then the call is made again, and one that was
//! settled is a duplicate. So what is called must bear being called twice.
//!
//! A handler cannot call: it is given no client by its signature, and this one is given no client while it reads, and no
//! transaction while it calls. What would mix them does not compile:
//!
//! ```compile_fail,E0424
//! # use millrace::contract::payloads::{BillingRefetch, BillingRefetched};
//! # use millrace::db::TenantTx;
//! # use millrace::pipeline::{Answered, CallFault, Egress, Fault, Message};
//! # struct Client;
//! # impl Client { async fn get(&self, id: String) -> Result<BillingRefetched, CallFault> { unimplemented!() } }
//! struct Fetch(Client);
//! impl Egress for Fetch {
//!     type Payload = BillingRefetch;
//!     type Request = BillingRefetched;
//!     type Answer = BillingRefetched;
//!
//!     async fn read(_: &mut TenantTx<'_>, message: &Message<BillingRefetch>) -> Result<BillingRefetched, Fault> {
//!         self.0.get(message.payload.subscription.clone()).await.map_err(|_| Fault::Retry { code: "away" })
//!     }
//!     async fn call(&self, fetched: BillingRefetched) -> Result<Answered<BillingRefetched>, CallFault> {
//!         Ok(Answered::resource("subscription", "sub_1", fetched))
//!     }
//! }
//! ```
//! ```compile_fail,E0310
//! # use millrace::contract::payloads::{BillingRefetch, BillingRefetched};
//! # use millrace::db::TenantTx;
//! # use millrace::pipeline::{Answered, CallFault, Egress, Fault, Message};
//! struct Fetch<'t>(std::sync::Mutex<TenantTx<'t>>);
//! impl<'t> Egress for Fetch<'t> {
//!     type Payload = BillingRefetch;
//!     type Request = String;
//!     type Answer = BillingRefetched;
//!
//!     async fn read(_: &mut TenantTx<'_>, message: &Message<BillingRefetch>) -> Result<String, Fault> {
//!         Ok(message.payload.subscription.clone())
//!     }
//!     async fn call(&self, _: String) -> Result<Answered<BillingRefetched>, CallFault> {
//!         Err(CallFault::Reject { code: "gone" })
//!     }
//! }
//! ```
//!
//! Their compiling twin:
//!
//! ```
//! # use millrace::contract::payloads::{BillingRefetch, BillingRefetched};
//! # use millrace::db::TenantTx;
//! # use millrace::pipeline::{Answered, CallFault, Egress, Fault, Message};
//! # struct Client;
//! # impl Client { async fn get(&self, id: String) -> Result<BillingRefetched, CallFault> { unimplemented!() } }
//! struct Fetch(Client);
//! impl Egress for Fetch {
//!     type Payload = BillingRefetch;
//!     type Request = String;
//!     type Answer = BillingRefetched;
//!
//!     async fn read(_: &mut TenantTx<'_>, message: &Message<BillingRefetch>) -> Result<String, Fault> {
//!         Ok(message.payload.subscription.clone())
//!     }
//!     async fn call(&self, id: String) -> Result<Answered<BillingRefetched>, CallFault> {
//!         Ok(Answered::resource("subscription", id.clone(), self.0.get(id).await?))
//!     }
//! }
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;

use super::fate::{Changed, Fate, Fault};
use super::handler::Message;
use super::open::Parcel;
use super::road::{Progress, Road, RoadFault, Step};
use super::{bury, claim, dispatch, resolve};
use crate::chaos::{self, Point};
use crate::contract::{Payload, Timestamp};
use crate::db::{BatchTx, DbFault, TenantTx};
use crate::telemetry::fields;

/// How many calls of a lane are under way at once, and so how many messages a worker that calls takes at a time: whoever
/// is answered waits for the slowest of them before it is acked.
pub(super) const AT_ONCE: usize = 8;

/// Makes one kind of call. A value of it lives as long as its worker and holds the client.
pub trait Egress: Send + Sync + 'static {
    /// The message that asks for the call.
    type Payload: Payload;
    /// What the call needs of the tenant's rows: owned, since the transaction it was read in is over by then.
    type Request: Send + 'static;
    /// The message that the answer becomes, for the worker that the contract names.
    type Answer: Payload + Serialize;

    /// Longest call. What takes longer has failed, and is tried again.
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Reads what the call needs, in the tenant's scope and for a principal that may. It has no client, and whatever it
    /// writes is rolled back.
    ///
    /// # Errors
    /// [`Fault`] states the message's fate: there is no call then.
    fn read(
        tx: &mut TenantTx<'_>,
        message: &Message<Self::Payload>,
    ) -> impl Future<Output = Result<Self::Request, Fault>> + Send;

    /// Calls. There is no transaction, and there may have been a call for this message before.
    ///
    /// # Errors
    /// [`CallFault`] says whether another call could do better.
    fn call(&self, request: Self::Request) -> impl Future<Output = Result<Answered<Self::Answer>, CallFault>> + Send;
}

/// What came of a call: which resource it was about, for the audit line, and the message that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<A> {
    resource_type: &'static str,
    resource_id: String,
    answer: A,
}

impl<A: Payload + Serialize> Answered<A> {
    /// The resource that the call was about, and its answer.
    pub fn resource(resource_type: &'static str, resource_id: impl Into<String>, answer: A) -> Self {
        Self { resource_type, resource_id: resource_id.into(), answer }
    }

    fn changed(self) -> Result<Changed, Fault> {
        Changed::resource(self.resource_type, self.resource_id).with_message(&self.answer)
    }
}

/// Why there is no answer. Codes are stable and carry no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// The call failed, and the message may be to blame: again later, counted.
    #[error("the call failed: {code}")]
    Retry {
        /// What went wrong.
        code: &'static str,
        /// The other side asked not to be called before.
        after: Option<Duration>,
    },
    /// Something is away, busy or full, which is no message's fault: again later, not counted, for as long as `window`; then
    /// the message is dead.
    #[error("the call waits: {code}")]
    Wait {
        /// How that shows.
        code: &'static str,
        /// For how long it may last.
        window: Duration,
        /// The other side asked not to be called before.
        after: Option<Duration>,
    },
    /// The other side answered, and said no.
    #[error("the call was refused: {code}")]
    Reject {
        /// Why.
        code: &'static str,
    },
}

/// A call that is ready to be made, with nothing of the database in it.
pub(super) type Call = Pin<Box<dyn Future<Output = Result<Changed, Fate>> + Send>>;

/// Bounds a call, and turns its end into what settles the message.
pub(super) fn bounded<E: Egress>(egress: Arc<E>, request: E::Request) -> Call {
    Box::pin(async move {
        let called = tokio::time::timeout(E::TIMEOUT, egress.call(request)).await;
        match called.unwrap_or(Err(CallFault::Retry { code: "call_timed_out", after: None })) {
            Ok(answered) => answered.changed().map_err(|fault| dispatch::fate_of(&fault)),
            Err(CallFault::Retry { code, after }) => Err(Fate::Retry { code, after: after.unwrap_or_default() }),
            Err(CallFault::Wait { code, window, after }) => {
                Err(Fate::Wait { code, window, after: after.unwrap_or_default() })
            }
            Err(CallFault::Reject { code }) => Err(Fate::Rejected { code }),
        }
    })
}

/// The messages that call, and all others in their order.
pub(super) fn apart(parcels: Vec<Parcel>) -> (Vec<Parcel>, Vec<Parcel>) {
    // Nearly every batch has none, and stays where it is.
    if parcels.iter().any(Parcel::calls) { parcels.into_iter().partition(Parcel::calls) } else { (Vec::new(), parcels) }
}

/// What reading for a call has come to.
enum Read {
    /// The call.
    Call(Call),
    /// There is none to make.
    Decided(Fate),
    /// The message is condemned, for which the road has its own way.
    Undecided,
}

impl Road {
    /// Makes the calls of these messages side by side, and settles them like all others: with the fate that their calls
    /// gave them. Those that the database could not read for wait with the rest of their batch.
    pub(super) async fn settle_calls(
        &self,
        calls: Vec<Parcel>,
        now: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), RoadFault> {
        let mut unread = Ok(());
        let mut called = Vec::with_capacity(calls.len());
        for ended in join_all(calls.into_iter().map(|parcel| self.called(parcel))).await {
            match ended {
                Ok(parcel) => called.push(parcel),
                Err(fault) => unread = Err(fault.into()),
            }
        }
        chaos::pass(Point::AfterCall);
        Box::pin(self.settle(called, now, progress)).await?;
        unread
    }

    /// Reads, calls, and gives the message the fate that came of it.
    async fn called(&self, mut parcel: Parcel) -> Result<Parcel, DbFault> {
        match self.patiently(self.read(&parcel)).await? {
            Read::Decided(fate) => parcel.fate = Some(fate),
            Read::Undecided => parcel.called = true,
            Read::Call(call) => {
                let began = Instant::now();
                let fate = call.await.map_or_else(|fate| fate, Fate::Applied);
                let result = fate.code().unwrap_or("answered");
                let worker = self.worker.to_string();
                metrics::histogram!(fields::CALL_SECONDS, "worker" => worker, "result" => result)
                    .record(began.elapsed());
                parcel.fate = Some(fate);
            }
        }
        Ok(parcel)
    }

    /// One transaction that is rolled back: whatever it claims, the one that settles claims anew.
    async fn read(&self, parcel: &Parcel) -> Result<Read, DbFault> {
        let mut tx = BatchTx::begin(&self.pool, &self.context).await?;
        let mut steps = [Step::new((0, parcel))];
        bury::recognize(&mut tx, &mut steps).await?;
        bury::pardon(&mut tx, &mut steps).await?;
        resolve::tenants(&mut tx, &mut steps).await?;
        claim::claim(&mut tx, &mut steps).await?;
        let [step] = &steps;
        let read = match (&step.fate, step.condemned, &step.tenant) {
            (Some(fate), ..) => Read::Decided(fate.clone()),
            (None, None, Some(tenant)) => {
                dispatch::read(self, &mut tx, parcel, tenant).await?.map_or_else(Read::Decided, Read::Call)
            }
            (None, ..) => Read::Undecided,
        };
        tx.roll_back().await?;
        Ok(read)
    }
}
