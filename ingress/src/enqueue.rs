//! Seal, publish, wait for the confirm; and the readiness that follows from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::amqp::{PublishFault, Publisher};
use millrace::contract::{Envelope, Keyring, Lane, OperationId, PublisherName, Route, Signer, TenantId};
use millrace::lifecycle::ReadyCheck;
use millrace::rates::LaneCounts;
use tokio::sync::Mutex;

use crate::response::Refusal;
use crate::webhooks::{Verified, Webhook};

/// How long one probe of the broker answers for all who ask: a flood of `/ready` must not become a flood of publishes.
const PROBE_LASTS: Duration = Duration::from_secs(1);

/// The way to the queue.
#[derive(Debug)]
pub(crate) struct Enqueue {
    signer: Signer,
    keyring: Keyring,
    publisher: Publisher,
    counts: LaneCounts,
}

impl Enqueue {
    pub(crate) fn new(signer: Signer, keyring: Keyring, publisher: Publisher) -> Self {
        let counts = LaneCounts::new(signer.publisher());
        Self { signer, keyring, publisher, counts }
    }

    /// Returns when a queue holds the webhook.
    ///
    /// # Errors
    /// The broker did not confirm; or an envelope longer than the wire takes, which the start has ruled out.
    pub(crate) async fn webhook(&self, webhook: Webhook<Verified>, lane: Lane) -> Result<(), Refusal> {
        let route = webhook.route(lane).clone();
        let (envelope, body) = webhook.into_envelope(self.signer.deployment());
        self.message(&envelope, &route, lane, body).await
    }

    /// Returns when a queue holds the message.
    ///
    /// # Errors
    /// As [`Self::webhook`].
    pub(crate) async fn message(
        &self,
        envelope: &Envelope,
        route: &Route,
        lane: Lane,
        body: Vec<u8>,
    ) -> Result<(), Refusal> {
        let wire = self.signer.seal(envelope, lane, body)?;
        tracing::debug!(message.id = %envelope.message_id, "publishing");
        self.publisher.publish(route.clone(), Arc::new(wire)).await?;
        self.counts.count(self.signer.lane(lane));
        Ok(())
    }

    /// Whose messages it seals.
    pub(crate) fn deployment(&self) -> &str {
        self.signer.deployment()
    }

    /// The best lane that the grant allows.
    pub(crate) fn best_lane(&self) -> Lane {
        self.signer.lane(Lane::Main)
    }

    /// Would a worker take this message under the edge's own grant? What it denied nobody could ask about.
    pub(crate) fn covers(&self, envelope: &Envelope) -> bool {
        self.signer.grant().covers(envelope).is_ok()
    }

    /// Whose operations it makes.
    pub(crate) fn publisher(&self) -> &PublisherName {
        self.signer.publisher()
    }

    /// Did one of this edge's keys make the id, for this tenant?
    pub(crate) fn made(&self, id: &OperationId, org: &TenantId) -> bool {
        id.was_made_with(self.keyring.keys_of(self.signer.publisher()), self.signer.deployment(), org)
    }

    /// The operation id of a command that was queued.
    pub(crate) fn operation(&self, org: &TenantId, envelope: &Envelope) -> OperationId {
        self.signer.operation(org, &envelope.message_id, envelope.issued_at)
    }

    /// Ready means that the broker confirms publishes.
    pub(crate) fn ready_check(&self) -> ReadyCheck {
        let probe = Arc::new(Probe { publisher: self.publisher.clone(), last: Mutex::default() });
        Arc::new(move || {
            let probe = Arc::clone(&probe);
            Box::pin(async move { probe.ask().await.map_err(|fault| format!("broker: {fault}")) })
        })
    }
}

struct Probe {
    publisher: Publisher,
    last: Mutex<Option<(Instant, Result<(), PublishFault>)>>,
}

impl Probe {
    /// One probe at a time; who asks meanwhile waits for its answer.
    async fn ask(&self) -> Result<(), PublishFault> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = *last
            && at.elapsed() < PROBE_LASTS
        {
            return answer;
        }
        let answer = self.publisher.probe().await;
        *last = Some((Instant::now(), answer));
        answer
    }
}
