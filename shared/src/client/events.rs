//! Consuming events: opened, and acked one by one when the service has committed what it made of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Account, ClientFault};
use crate::amqp::{AmqpFault, Batch, Consumer, Delivered, Dialer, Redelivered, Redial, Session};
use crate::contract::{
    ActorKind, CheckedContract, Envelope, Grant, KeyId, Keyring, Lane, OutsideGrant, Publisher, PublisherName, Role,
    SealFault, SealKey, Service, Tenants, WireFault, WireMessage,
};

/// Most events that are with the service and not yet acked.
const PREFETCH: u16 = 128;

/// Takes the events of a service's own queue.
#[derive(Debug)]
pub struct EventConsumer {
    dialer: Dialer,
    queue: String,
    keyring: Keyring,
    live: Option<Live>,
    redial: Redial,
    /// When the connection, or the try to make one, began.
    began: Instant,
    /// How long to wait before the next.
    pause: Duration,
}

#[derive(Debug)]
struct Live {
    session: Session,
    consumer: Consumer,
}

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// An event that a worker sealed.
    Event(Box<ReceivedEvent>),
    /// Something else. It is off the queue already, and lies in quarantine for an operator.
    Refused(Refusal),
}

/// A message on the queue that is no event of this deployment's workers.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub why: WhyRefused,
    /// What arrived; nothing in it is to be trusted.
    pub message: Arc<WireMessage>,
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyRefused {
    /// A field that is no text.
    #[error(transparent)]
    Wire(#[from] WireFault),
    /// No worker of this deployment sealed it.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// A worker sealed it, but not as an event.
    #[error("it is no event: outside the grant by its {0}")]
    NoEvent(OutsideGrant),
}

impl EventConsumer {
    /// Connects as the service and consumes its queue. `worker_keys` are the workers' seal keys, several during a rotation.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses login or queue.
    pub async fn connect(
        account: &Account,
        worker_keys: Vec<(KeyId, SealKey)>,
        contract: &CheckedContract,
    ) -> Result<Self, ClientFault> {
        let keyring = keyring(&account.deployment, worker_keys, contract);
        let (dialer, queue) = (account.dialer(), Service::queue_name(&account.name));
        let (redial, began, pause) = (Redial::default(), Instant::now(), Duration::ZERO);
        let mut consumer = Self { dialer, queue, keyring, live: None, redial, began, pause };
        consumer.live().await?;
        Ok(consumer)
    }

    /// Waits for the next message. Events that were not acked come again after a loss of the connection.
    ///
    /// # Errors
    /// The connection was lost or cannot be made. Call it again: it dials anew, after a pause.
    pub async fn next(&mut self) -> Result<Incoming, ClientFault> {
        let received = self.receive().await;
        received.map_err(|fault| {
            self.live = None;
            self.pause = self.redial.pause(self.began.elapsed(), &fault);
            fault.into()
        })
    }

    async fn receive(&mut self) -> Result<Incoming, AmqpFault> {
        let mut batch = self.live().await?.consumer.next_batch(|| 1, Redelivered::Together).await?;
        let delivered = batch.deliveries.pop().ok_or(AmqpFault::Stale)?;
        match open(&self.keyring, &delivered) {
            Ok(envelope) => Ok(Incoming::Event(Box::new(ReceivedEvent { envelope, delivered, batch }))),
            Err(why) => {
                tracing::warn!(reason = %why, "a message that no worker sealed as an event is refused");
                batch.refuse().await?;
                Ok(Incoming::Refused(Refusal { why, message: delivered.message }))
            }
        }
    }

    async fn live(&mut self) -> Result<&mut Live, AmqpFault> {
        let live = match self.live.take() {
            Some(live) => live,
            None => {
                tokio::time::sleep(self.pause).await;
                self.began = Instant::now();
                let session = Session::connect(&self.dialer).await?;
                let consumer = session.consume(&self.queue, self.redial.prefetch(PREFETCH)).await?;
                Live { session, consumer }
            }
        };
        Ok(self.live.insert(live))
    }

    /// Closes in order. Events that were not acked come again.
    pub async fn close(self) {
        if let Some(live) = self.live {
            live.session.close().await;
        }
    }
}

/// The envelope of what a worker sealed as an event.
fn open(keyring: &Keyring, delivered: &Delivered) -> Result<Envelope, WhyRefused> {
    if let Some(fault) = delivered.fault {
        return Err(fault.into());
    }
    let opened = keyring.open(&delivered.message)?;
    opened.publisher.grant.covers(&opened.envelope).map_err(WhyRefused::NoEvent)?;
    Ok(opened.envelope)
}

/// An event with its proof of origin. Dropped without an ack it comes again, at the latest when the connection ends.
#[derive(Debug)]
pub struct ReceivedEvent {
    envelope: Envelope,
    delivered: Delivered,
    batch: Batch,
}

impl ReceivedEvent {
    /// Its metadata: the id, which is equal for every copy of it, the type, the tenant, the cause.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The body, byte for byte, in the shape of the event's JSON Schema.
    pub fn body(&self) -> &[u8] {
        &self.delivered.message.body
    }

    /// The message as it arrived.
    pub fn message(&self) -> &WireMessage {
        &self.delivered.message
    }

    /// The broker has handed it out before. So may a message be that was never worked on, and the other way round: only
    /// the id tells.
    pub fn is_redelivered(&self) -> bool {
        self.delivered.redelivered
    }

    /// Takes it off the queue. Call it after the commit of what the event led to.
    ///
    /// # Errors
    /// The connection is gone, and the event comes again.
    pub async fn ack(self) -> Result<(), ClientFault> {
        Ok(self.batch.ack_each().await?)
    }
}

/// The workers' keys, bound to the contract's events: what else they seal is none.
fn keyring(deployment: &str, worker_keys: Vec<(KeyId, SealKey)>, contract: &CheckedContract) -> Keyring {
    let Ok(name) = PublisherName::parse("worker") else { return Keyring::new(deployment, Vec::new()) };
    let grant = Grant {
        types: contract.events().map(|event| event.name.clone()).collect(),
        tenants: Tenants::All,
        kinds: vec![ActorKind::System],
        highest_role: Role::Viewer,
        lane: Lane::Main,
    };
    let publishers = worker_keys
        .into_iter()
        .map(|(key_id, key)| Publisher { key_id, name: name.clone(), grant: grant.clone(), key })
        .collect();
    Keyring::new(deployment, publishers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{MessageId, MessageType, Principal, Signer, TenantId, Timestamp};

    fn key() -> SealKey {
        SealKey::new(&[7; SealKey::SHORTEST]).unwrap()
    }

    fn ring() -> Keyring {
        let contract = crate::builtin().check().unwrap();
        keyring("demo", vec![(KeyId::parse("worker-1").unwrap(), key())], &contract)
    }

    /// A message as `signer` seals it, with whatever grant it claims.
    fn delivered(key_id: &str, message_type: &str, principal: Principal) -> Delivered {
        let envelope = Envelope {
            message_id: MessageId::parse("m1").unwrap(),
            message_type: MessageType::parse(message_type).unwrap(),
            schema_version: 1,
            content_type: "application/json".into(),
            org_id: Some(TenantId::parse("acme").unwrap()),
            principal,
            token: None,
            origin: None,
            dedupe_key: None,
            correlation_id: None,
            causation_id: None,
            issued_at: Timestamp::from_unix(1_700_000_000).unwrap(),
            expected_version: None,
        };
        let name = PublisherName::parse("worker").unwrap();
        let grant = Grant {
            types: Vec::new(),
            tenants: Tenants::All,
            kinds: Vec::new(),
            highest_role: Role::Viewer,
            lane: Lane::Main,
        };
        let signer =
            Signer::alone("demo", Publisher { key_id: KeyId::parse(key_id).unwrap(), name, grant, key: key() });
        let message = Arc::new(signer.seal(&envelope, Lane::Main, b"{}".to_vec()).unwrap());
        Delivered { message, fault: None, redelivered: false }
    }

    #[test]
    fn only_events_of_a_worker_are_opened() {
        let worker = || Principal::system("worker");
        let opened = |delivered: &Delivered| open(&ring(), delivered).map(|envelope| envelope.message_type.to_string());
        assert_eq!(opened(&delivered("worker-1", "projects.created", worker())), Ok("projects.created".into()));
        let audit = opened(&delivered("worker-1", "audit.event", worker()));
        assert_eq!(audit, Err(WhyRefused::NoEvent(OutsideGrant::Type)));
        let webhook = opened(&delivered("worker-1", "projects.created", Principal::webhook("stripe")));
        assert_eq!(webhook, Err(WhyRefused::NoEvent(OutsideGrant::ActorKind)));
        let crm = opened(&delivered("crm-1", "projects.created", worker()));
        assert_eq!(crm, Err(WhyRefused::Seal(SealFault::UnknownKey)));
        let mut changed = delivered("worker-1", "projects.created", worker());
        Arc::make_mut(&mut changed.message).body.push(b' ');
        assert_eq!(opened(&changed), Err(WhyRefused::Seal(SealFault::Forged)));
        let fault = WireFault::NotText(crate::contract::Field::OrgId);
        let unreadable = Delivered { fault: Some(fault), ..delivered("worker-1", "projects.created", worker()) };
        assert_eq!(opened(&unreadable), Err(WhyRefused::Wire(fault)));
    }
}
