//! Handlers: what adopters and the domains write.

use std::any::Any;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use super::egress::{Call, Egress, bounded};
use super::fate::{Changed, Fault};
use crate::contract::{
    CheckedContract, Envelope, Malformed, MessageId, Payload, PayloadEntry, Principal, Tenancy, Timestamp, WorkerName,
};
use crate::db::{GroupTx, Request, TenantTx};

/// A payload on its way to its handler. It carries the times a handler needs, so that handlers need no clock and a
/// rerun decides the same.
#[derive(Debug)]
pub struct Message<P> {
    /// The body.
    pub payload: P,
    /// Equal for every copy of this message.
    pub id: MessageId,
    /// For whom it acts, as it was sealed; [`TenantTx::principal`] has the role it has now.
    pub principal: Principal,
    /// `iat` of the token behind a command, in unix seconds.
    pub token_iat: Option<i64>,
    /// The resource version that the caller expects.
    pub expected_version: Option<i64>,
    /// When its publisher sealed it; for webhooks the time of receipt.
    pub received_at: Timestamp,
    /// When this batch began.
    pub decided_at: Timestamp,
}

/// Applies one kind of payload inside one tenant's transaction. It does no I/O but SQL, decides a rejection before it
/// writes, and may run again before its batch commits.
pub trait Handler: Send + Sync + 'static {
    /// What it handles.
    type Payload: Payload;

    /// Applies the message, and says what changed.
    ///
    /// # Errors
    /// [`Fault`] states the message's fate.
    fn handle(
        &self,
        tx: &mut TenantTx<'_>,
        message: &Message<Self::Payload>,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Does this handler have a form for several messages of one tenant at once? For kinds of which many come, since it
    /// saves round trips. It must change neither members nor the tenant's standing, on which its messages were let in
    /// together, and a test should hold both forms to the same results.
    const TOGETHER: bool = false;

    /// Applies several messages of one tenant, all of whose principals may, with the results of [`Self::handle`] one after
    /// the other: all of them, or none and [`Together::OneByOne`]. Called only with [`Self::TOGETHER`].
    ///
    /// # Errors
    /// [`Fault`]: the batch is then halved until each message is handled by itself and has a fate of its own.
    fn handle_together(
        &self,
        tx: &mut GroupTx<'_>,
        messages: &[&Message<Self::Payload>],
    ) -> impl Future<Output = Result<Together, Fault>> + Send {
        let _ = (tx, messages);
        std::future::ready(Ok(Together::OneByOne))
    }
}

/// What became of messages that were to be applied together.
#[derive(Debug)]
pub enum Together {
    /// All are applied; what each changed, in the order of the messages.
    All(Vec<Changed>),
    /// Nothing was changed: one of them is for [`Handler::handle`] to decide.
    OneByOne,
}

type Handling<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// A parsed message bound to its handler.
pub(super) trait Prepared: Send + Sync {
    fn tenancy(&self) -> Tenancy;
    fn action(&self) -> &str;
    fn actor(&self) -> String;
    fn request(&self) -> Request<'_>;
    fn run<'a>(&'a self, tx: &'a mut TenantTx<'_>) -> Handling<'a, Changed>;
    /// The time that the sender's own signature covers, for what has one.
    fn signed_at(&self) -> Option<Timestamp>;
    /// Can it run together with others of its type?
    fn goes_together(&self) -> bool;
    /// Runs all of these, which are of this one's type; it is one of them.
    fn run_together<'a>(&'a self, tx: &'a mut GroupTx<'_>, all: &'a [&'a dyn Prepared]) -> Handling<'a, Together>;
    fn as_any(&self) -> &dyn Any;
    /// Is it a call to the outside?
    fn calls(&self) -> bool;
    /// Reads for the call.
    fn read<'a>(&'a self, tx: &'a mut TenantTx<'_>) -> Handling<'a, Call>;
}

/// What a worker does with one kind of payload: it handles, or it calls.
trait Work: Send + Sync + 'static {
    type Payload: Payload;
    /// See [`Handler::TOGETHER`].
    const TOGETHER: bool;
    /// It calls.
    const CALLS: bool;

    fn run<'a>(&'a self, tx: &'a mut TenantTx<'_>, message: &'a Message<Self::Payload>) -> Handling<'a, Changed>;
    fn run_together<'a>(
        &'a self,
        tx: &'a mut GroupTx<'_>,
        messages: Vec<&'a Message<Self::Payload>>,
    ) -> Handling<'a, Together>;
    fn read<'a>(&'a self, tx: &'a mut TenantTx<'_>, message: &'a Message<Self::Payload>) -> Handling<'a, Call>;
}

/// A handler works in the transaction that settles.
struct Handles<H>(H);

impl<H: Handler> Work for Handles<H> {
    type Payload = H::Payload;
    const TOGETHER: bool = H::TOGETHER;
    const CALLS: bool = false;

    fn run<'a>(&'a self, tx: &'a mut TenantTx<'_>, message: &'a Message<H::Payload>) -> Handling<'a, Changed> {
        Box::pin(self.0.handle(tx, message))
    }

    fn run_together<'a>(
        &'a self,
        tx: &'a mut GroupTx<'_>,
        messages: Vec<&'a Message<H::Payload>>,
    ) -> Handling<'a, Together> {
        Box::pin(async move { self.0.handle_together(tx, &messages).await })
    }

    fn read<'a>(&'a self, _: &'a mut TenantTx<'_>, _: &'a Message<H::Payload>) -> Handling<'a, Call> {
        Box::pin(std::future::ready(Err(Fault::Poison { code: "no_call" })))
    }
}

/// An egress works before it: what is settled is what came of the call.
struct Calls<E>(Arc<E>);

impl<E: Egress> Work for Calls<E> {
    type Payload = E::Payload;
    const TOGETHER: bool = false;
    const CALLS: bool = true;

    fn run<'a>(&'a self, _: &'a mut TenantTx<'_>, _: &'a Message<E::Payload>) -> Handling<'a, Changed> {
        // A call that was not made in time to settle is made again.
        Box::pin(std::future::ready(Err(Fault::Retry { code: "not_called" })))
    }

    fn run_together<'a>(&'a self, _: &'a mut GroupTx<'_>, _: Vec<&'a Message<E::Payload>>) -> Handling<'a, Together> {
        Box::pin(std::future::ready(Ok(Together::OneByOne)))
    }

    fn read<'a>(&'a self, tx: &'a mut TenantTx<'_>, message: &'a Message<E::Payload>) -> Handling<'a, Call> {
        Box::pin(async move { Ok(bounded(Arc::clone(&self.0), E::read(tx, message).await?)) })
    }
}

struct Bound<W: Work> {
    work: Arc<W>,
    message: Message<W::Payload>,
}

impl<W: Work> Prepared for Bound<W> {
    fn tenancy(&self) -> Tenancy {
        self.message.payload.tenancy()
    }

    fn action(&self) -> &str {
        self.message.payload.action()
    }

    fn actor(&self) -> String {
        self.message.payload.actor(&self.message.principal)
    }

    fn request(&self) -> Request<'_> {
        Request {
            principal: &self.message.principal,
            token_iat: self.message.token_iat,
            permission: W::Payload::PERMISSION,
            callers: W::Payload::CALLERS,
            gate: W::Payload::GATE,
        }
    }

    fn run<'a>(&'a self, tx: &'a mut TenantTx<'_>) -> Handling<'a, Changed> {
        self.work.run(tx, &self.message)
    }

    fn signed_at(&self) -> Option<Timestamp> {
        self.message.payload.signed_at()
    }

    fn goes_together(&self) -> bool {
        W::TOGETHER
    }

    fn run_together<'a>(&'a self, tx: &'a mut GroupTx<'_>, all: &'a [&'a dyn Prepared]) -> Handling<'a, Together> {
        let same = all.iter().map(|one| one.as_any().downcast_ref::<Self>().map(|bound| &bound.message));
        match same.collect::<Option<Vec<_>>>() {
            Some(messages) => self.work.run_together(tx, messages),
            None => Box::pin(std::future::ready(Ok(Together::OneByOne))),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn calls(&self) -> bool {
        W::CALLS
    }

    fn read<'a>(&'a self, tx: &'a mut TenantTx<'_>) -> Handling<'a, Call> {
        self.work.read(tx, &self.message)
    }
}

type Prepare = dyn Fn(&Envelope, &[u8], Timestamp) -> Result<Box<dyn Prepared>, Malformed> + Send + Sync;

/// The handlers of one worker, an explicit list that reads as its table of contents.
#[derive(Default)]
pub struct Handlers {
    prepare: BTreeMap<&'static str, (u32, Box<Prepare>)>,
    twice: Vec<&'static str>,
    calling: bool,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.prepare.keys()).finish()
    }
}

impl Handlers {
    /// Adds a handler.
    #[must_use]
    pub fn with<H: Handler>(self, handler: H) -> Self {
        self.bind(Handles(handler))
    }

    /// Adds a call to the outside. A worker that calls takes few messages at a time, so give calls a worker of their own
    /// unless its others may wait for them.
    #[must_use]
    pub fn with_egress<E: Egress>(mut self, egress: E) -> Self {
        self.calling = true;
        self.bind(Calls(Arc::new(egress)))
    }

    fn bind<W: Work>(mut self, work: W) -> Self {
        let work = Arc::new(work);
        let prepare = move |envelope: &Envelope, body: &[u8], decided_at| {
            let message = Message {
                payload: W::Payload::parse(body)?,
                id: envelope.message_id.clone(),
                principal: envelope.principal.clone(),
                token_iat: envelope.token.as_ref().map(|(_, iat)| *iat),
                expected_version: envelope.expected_version,
                received_at: envelope.issued_at,
                decided_at,
            };
            Ok(Box::new(Bound { work: Arc::clone(&work), message }) as Box<dyn Prepared>)
        };
        let entry = (W::Payload::SCHEMA_VERSION, Box::new(prepare) as Box<Prepare>);
        if self.prepare.insert(W::Payload::NAME, entry).is_some() {
            self.twice.push(W::Payload::NAME);
        }
        self
    }

    /// Is any of them a call to the outside?
    pub(super) fn calling(&self) -> bool {
        self.calling
    }

    /// What does not fit between this list and the contract's worker.
    pub fn mistakes(&self, contract: &CheckedContract, worker: &WorkerName) -> Vec<String> {
        let listed: Vec<&PayloadEntry> = contract.payloads_of(worker).collect();
        let twice = self.twice.iter().map(|name| format!("{name} has two handlers"));
        let without = listed
            .iter()
            .filter(|entry| !self.prepare.contains_key(entry.name.as_str()))
            .map(|entry| format!("{} has no handler", entry.name));
        let foreign = self
            .prepare
            .keys()
            .filter(|name| !listed.iter().any(|entry| entry.name.as_str() == **name))
            .map(|name| format!("{name} has a handler, but the contract gives it to another worker or to none"));
        let unknown = (!contract.workers().contains(worker)).then(|| format!("the contract has no worker {worker}"));
        twice.chain(without).chain(foreign).chain(unknown).collect()
    }

    /// Parses a body for its handler; `None` for a type or version this build does not know.
    pub(super) fn prepare(
        &self,
        envelope: &Envelope,
        body: &[u8],
        decided_at: Timestamp,
    ) -> Option<Result<Box<dyn Prepared>, Malformed>> {
        let (version, prepare) = self.prepare.get(envelope.message_type.as_str())?;
        (envelope.schema_version <= *version).then(|| prepare(envelope, body, decided_at))
    }
}

/// Lists handlers: `handlers![Create, Rename { .. }]`.
#[macro_export]
macro_rules! handlers {
    ($($handler:expr),* $(,)?) => {
        $crate::pipeline::Handlers::default()$(.with($handler))*
    };
}
