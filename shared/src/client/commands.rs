//! Publishing commands: checked, sealed, routed by the contract, confirmed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::{Account, ClientFault, OwnKey};
use crate::amqp::{AmqpFault, Publisher, Session};
use crate::contract::{
    self, CheckedContract, CommandIdentity, Envelope, Grant, Lane, MessageId, Payload, PayloadEntry, Principal, Role,
    Route, Signer, TenantId, Tenants, Timestamp,
};
use crate::rates::{LaneCounts, SoftRate};

/// Bound of one publish from the call to the broker's confirm.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound of the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands of one tenant a second in the main lane, unless [`CommandPublisher::with_soft_rate`] says otherwise. The edge
/// has the same by default.
const SOFT_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

/// What a command may carry beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The version the resource has to have; with another one the command is rejected.
    pub expected_version: Option<i64>,
    /// The whole story this command belongs to; its events carry it on.
    pub correlation_id: Option<String>,
    /// The message that led to this command.
    pub causation_id: Option<MessageId>,
}

/// Publishes commands under one key. Cloning shares the connection, which is rebuilt whenever it is lost, and the rates.
///
/// A key without the main lane reaches overflow alone. With it a tenant's commands go to main within the soft rate, and to
/// overflow beyond it; none is refused for its rate. The rate is of this publisher and its clones, counted in memory.
#[derive(Debug, Clone)]
pub struct CommandPublisher {
    publisher: Publisher,
    signer: Signer,
    contract: Arc<CheckedContract>,
    soft_rate: Arc<SoftRate>,
    counts: LaneCounts,
}

impl CommandPublisher {
    /// Connects as the service; `contract` is the deployment's, which knows every command and its worker.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses the login.
    pub async fn connect(account: &Account, key: OwnKey, contract: &CheckedContract) -> Result<Self, ClientFault> {
        // The publisher never gives up; a connection that is tried once says what is wrong.
        Session::connect(&account.dialer()).await?.close().await;
        let publisher = Publisher::start(account.dialer(), PUBLISH_TIMEOUT);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, publisher.connected()).await;
        connected.map_err(|_| AmqpFault::DialTimeout)?;
        Ok(Self {
            publisher,
            signer: signer(account, key, contract),
            contract: Arc::new(contract.clone()),
            soft_rate: Arc::new(SoftRate::new(Some(SOFT_RATE))),
            counts: LaneCounts::new(&account.name),
        })
    }

    /// Commands of one tenant a second that go to the main lane, with as many again in one burst; `None` leaves all of
    /// them there. It moves nothing for a key without that lane.
    #[must_use]
    pub fn with_soft_rate(self, rate: Option<NonZeroU32>) -> Self {
        Self { soft_rate: Arc::new(SoftRate::new(rate)), ..self }
    }

    /// Publishes one command for a tenant in the name of `principal`, and waits until a queue holds it. The id is made of
    /// tenant, principal, command, idempotency key and body: the same call again is the same message.
    ///
    /// # Errors
    /// [`ClientFault::Malformed`] names the field of a body that no worker would read. After
    /// [`ClientFault::NotConfirmed`] the command may be queued all the same; publish it again.
    pub async fn publish_command<P: Payload>(
        &self,
        org: &TenantId,
        principal: &Principal,
        idempotency_key: &str,
        body: Vec<u8>,
        options: CommandOptions,
    ) -> Result<MessageId, ClientFault> {
        let entry = self.contract.commands().find(|entry| entry.name.as_str() == P::NAME);
        let entry = entry.ok_or(ClientFault::NoCommand(P::NAME))?;
        P::parse(&body)?;
        if idempotency_key.is_empty() {
            return Err(ClientFault::EmptyKey);
        }
        let envelope = self.envelope(entry, org, principal, idempotency_key, &body, options);
        let id = envelope.message_id.clone();
        let lane = match self.signer.grant().lane {
            Lane::Main => self.soft_rate.lane(org),
            Lane::Overflow => Lane::Overflow,
        };
        let route = match lane {
            Lane::Main => Route::work(&entry.worker, Lane::Main),
            Lane::Overflow => Route::direct(&entry.worker),
        };
        let wire = self.signer.seal(&envelope, lane, body)?;
        self.publisher.publish(route, Arc::new(wire)).await?;
        self.counts.count(lane);
        Ok(id)
    }

    fn envelope(
        &self,
        entry: &PayloadEntry,
        org: &TenantId,
        principal: &Principal,
        idempotency_key: &str,
        body: &[u8],
        options: CommandOptions,
    ) -> Envelope {
        let actor = principal.actor_id();
        let identity = CommandIdentity { org, actor: &actor, command: &entry.name, key: idempotency_key, body };
        Envelope {
            message_id: MessageId::of_command(self.signer.deployment(), &identity),
            message_type: entry.name.clone(),
            schema_version: entry.schema_version,
            content_type: "application/json".to_owned(),
            org_id: Some(org.clone()),
            principal: principal.clone(),
            token: None,
            origin: None,
            dedupe_key: Some(idempotency_key.to_owned()),
            correlation_id: options.correlation_id,
            causation_id: options.causation_id,
            issued_at: Timestamp::new(OffsetDateTime::now_utc()),
            expected_version: options.expected_version,
        }
    }
}

/// The workers' grant decides what the key may send; of this one only the lane counts.
fn signer(account: &Account, key: OwnKey, contract: &CheckedContract) -> Signer {
    let grant = Grant {
        types: contract.commands().map(|entry| entry.name.clone()).collect(),
        tenants: Tenants::All,
        kinds: Vec::new(),
        highest_role: Role::Admin,
        lane: key.lane,
    };
    let publisher = contract::Publisher { key_id: key.id, name: account.name.clone(), grant, key: key.key };
    Signer::alone(&account.deployment, publisher)
}
