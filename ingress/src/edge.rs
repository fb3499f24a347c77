//! The edge: which request goes where, and what it is answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use metrics::{Gauge, Histogram};
use millrace::amqp::{AmqpFault, Dialer, Publisher};
use millrace::config::{Config, HttpConfig};
use millrace::contract::payloads::EdgeRule;
use millrace::contract::{BrokerUser, CheckedContract, OperationId, RoleTable, Timestamp};
use millrace::exports::{Archive, ExportStore, StoreFault};
use millrace::lifecycle::ReadyCheck;
use millrace::telemetry::fields;
use time::OffsetDateTime;

use crate::authenticate::{AuthFault, Authenticator, Caller};
use crate::body;
use crate::commands::{self, Command, CommandFault, Commands};
use crate::enqueue::Enqueue;
use crate::rates::Rates;
use crate::reads::{ReadFault, Reader, Reads, bounded, wait_of};
use crate::response::{self, Answer, Refusal};
use crate::routes::{Routes, Rows, Target};
use crate::socket::Dialogue;
use crate::webhooks::{Source, SourceFault, Webhook};

/// The publisher whose key seals.
const PUBLISHER: &str = "ingress";

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeFault {
    /// No login for the broker.
    #[error(transparent)]
    Broker(#[from] AmqpFault),
    /// No key to seal with.
    #[error("no key of publisher {PUBLISHER} signs; set signs = true in [publishers.<key id>]")]
    NoSigner,
    /// A source that cannot be served.
    #[error(transparent)]
    Source(#[from] SourceFault),
    /// An issuer that cannot be asked.
    #[error(transparent)]
    Issuer(#[from] AuthFault),
    /// An address of the database that cannot be used.
    #[error(transparent)]
    Reads(#[from] ReadFault),
    /// A store of exports that cannot be used.
    #[error(transparent)]
    Exports(#[from] StoreFault),
    /// `billing.webhook_endpoint` would lead nowhere.
    #[error("billing.provider is {0:?}, but there is no [sources.{0}]")]
    NoBilling(String),
    /// The address is taken or not ours.
    #[error("cannot listen on {address} (http.listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The edge with everything it needs, not yet listening.
#[derive(Debug)]
pub struct Edge {
    routes: Routes,
    enqueue: Enqueue,
    authenticator: Authenticator,
    rates: Rates,
    reads: Reads,
    exports: ExportStore,
    roles: RoleTable,
    pub(crate) http: HttpConfig,
    seconds: Histogram,
    pub(crate) connections: Gauge,
}

impl Edge {
    /// Prepares sources, commands and issuers, and begins to connect to the broker in the background, for ever and
    /// without waiting for it. Must be called inside a Tokio runtime, after the metrics recorder is in place.
    ///
    /// # Errors
    /// Anything but [`EdgeFault::Listen`].
    pub fn new(contract: &CheckedContract, config: &Config) -> Result<Self, EdgeFault> {
        let signer = config.publishers.signer(PUBLISHER).ok_or(EdgeFault::NoSigner)?;
        let sources = config.sources.iter().map(|source| Source::new(source, contract, &signer));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let billing = &config.billing;
        let commands = Commands::new(contract, &signer);
        let routes = Routes::new(sources, &billing.webhook_endpoint, &billing.provider, commands)
            .ok_or_else(|| EdgeFault::NoBilling(billing.provider.clone()))?
            .auditing(contract, &signer)
            .exporting(&config.compliance.exports.endpoint);
        let dialer = Dialer::new(&config.amqp, BrokerUser::Ingress, "millrace-ingress")?;
        let publisher = Publisher::start(dialer, config.http.publish_timeout);
        let reads = Reads::new(&config.database, contract.roles().clone())?;
        let indexed = config.compliance.audit_index_days.is_some();
        Ok(Self {
            routes,
            enqueue: Enqueue::new(signer, config.publishers.keyring().clone(), publisher),
            authenticator: Authenticator::new(&config.issuers)?,
            reads: if indexed { reads } else { reads.without_audit_index() },
            exports: ExportStore::new(&config.compliance.exports.store)?,
            rates: Rates::new(&config.limits),
            roles: contract.roles().clone(),
            http: config.http.clone(),
            seconds: metrics::histogram!(fields::REQUEST_SECONDS),
            connections: metrics::gauge!(fields::CONNECTIONS),
        })
    }

    /// Ready while the broker confirms publishes; asks it at most once a second.
    pub fn ready_check(&self) -> ReadyCheck {
        self.enqueue.ready_check()
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>, dialogue: &Dialogue) -> Result<Answer, Infallible> {
        let began = Instant::now();
        let bodyless = request.body().is_end_stream();
        let answer = match self.handle(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                let last = refusal.precedes_body() && !bodyless;
                if last {
                    dialogue.leave_unread();
                }
                refusal.answer(last)
            }
        };
        self.seconds.record(began.elapsed());
        Ok(answer)
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        match self.routes.find(&head.method, head.uri.path())? {
            // Boxed, or every open connection would have room for the largest of them.
            Target::Webhook(source) => Box::pin(self.webhook(source, head, body)).await,
            Target::Command(command) => Box::pin(self.command(command, head, body)).await,
            Target::Operation(id) => Box::pin(self.operation(id, head)).await,
            Target::Certificate(id) => Box::pin(self.certificate(id, head)).await,
            Target::Export(id) => Box::pin(self.export(id, head)).await,
            Target::Rows(rows) => Box::pin(self.rows(rows, head)).await,
        }
    }

    async fn webhook(&self, source: &Arc<Source>, head: Parts, body: Incoming) -> Result<Answer, Refusal> {
        let body = self.body(body).await?;
        let webhook = Webhook::received(Arc::clone(source), head.headers, body);
        // Only what is verified counts: a stranger's forgeries must not use up anybody's rate.
        let webhook = webhook.verify(OffsetDateTime::now_utc())?;
        let lane = self.rates.webhook(webhook.sender()).map_err(Refusal::SourceTooFast)?;
        self.enqueue.webhook(webhook, lane).await?;
        Ok(response::received())
    }

    async fn command(&self, command: &Command, head: Parts, body: Incoming) -> Result<Answer, Refusal> {
        let now = OffsetDateTime::now_utc();
        let caller = self.authenticator.authenticate(&head.headers, now).await?;
        if let Err(rule) = command.permits(&caller, &self.roles) {
            self.audit_refusal(&caller, command.name().as_str(), rule).await;
            return Err(CommandFault::Forbidden(rule).into());
        }
        let asked = command.head(&head.headers)?;
        let lane = self.rates.command(&caller.org).map_err(CommandFault::from)?;
        let body = self.body(body).await?;
        let envelope = command.envelope(self.enqueue.deployment(), &caller, asked, &body, now)?;
        if !self.enqueue.covers(&envelope) {
            return Err(CommandFault::OutsideGrant.into());
        }
        self.enqueue.message(&envelope, command.route(lane), lane, body).await?;
        let operation = self.enqueue.operation(&caller.org, &envelope);
        Ok(response::accepted(&operation))
    }

    async fn operation(&self, id: Option<OperationId>, head: Parts) -> Result<Answer, Refusal> {
        let caller = self.authenticator.authenticate(&head.headers, OffsetDateTime::now_utc()).await?;
        let ours = |id: &OperationId| self.enqueue.made(id, &caller.org);
        // Another tenant's operation, and one that never was, are not told apart.
        let id = id.filter(ours).ok_or(Refusal::NotFound)?;
        let over = id.is_over(Timestamp::new(OffsetDateTime::now_utc()));
        let wait = wait_of(head.uri.query())?.min(if over { Duration::ZERO } else { Duration::MAX });
        let publisher = self.enqueue.publisher();
        let mut answer = self.reads.operation(reader(&caller), publisher, id.message_id(), wait).await?;
        // Whatever became of it need not be told any more.
        if over && answer["status"] == "pending" {
            return Err(Refusal::NotFound);
        }
        answer["operation"] = id.to_string().into();
        Ok(response::read(&answer))
    }

    async fn certificate(&self, id: Option<OperationId>, head: Parts) -> Result<Answer, Refusal> {
        let caller = self.authenticator.authenticate(&head.headers, OffsetDateTime::now_utc()).await?;
        let id = id.filter(|id| self.enqueue.made(id, &caller.org)).ok_or(Refusal::NotFound)?;
        let found = bounded(self.reads.certificate(reader(&caller), id.message_id(), head.uri.query())).await;
        if let Err(ReadFault::Denied(_)) = found {
            self.audit_refusal(&caller, "compliance.read", EdgeRule::RoleTable).await;
        }
        // The bytes as they were hashed.
        Ok(response::document(found?.ok_or(Refusal::NotFound)?))
    }

    async fn export(&self, id: Option<OperationId>, head: Parts) -> Result<Answer, Refusal> {
        let caller = self.authenticator.authenticate(&head.headers, OffsetDateTime::now_utc()).await?;
        let id = id.filter(|id| self.enqueue.made(id, &caller.org)).ok_or(Refusal::NotFound)?;
        let found = bounded(self.reads.export(reader(&caller), id.message_id(), head.uri.query())).await;
        if let Err(ReadFault::Denied(_)) = found {
            self.audit_refusal(&caller, "compliance.export", EdgeRule::RoleTable).await;
        }
        let prepared = found?.ok_or(Refusal::NotFound)?;
        // Before the head of an answer that could not be taken back: where the manifest is gone, everything is.
        let (manifest, bytes) = &prepared.manifest;
        self.exports.holds(manifest, *bytes).await?;
        Ok(response::archive(Archive::new(prepared.export, prepared.finished, prepared.parts, self.exports.clone())))
    }

    async fn rows(&self, rows: Rows, head: Parts) -> Result<Answer, Refusal> {
        let caller = self.authenticator.authenticate(&head.headers, OffsetDateTime::now_utc()).await?;
        let (asks, query) = (reader(&caller), head.uri.query());
        let look = async {
            match rows {
                Rows::Projects => self.reads.projects(asks, query).await,
                Rows::Settings => self.reads.settings(asks, query).await,
                Rows::Members => self.reads.members(asks, query).await,
                Rows::Billing => self.reads.billing(asks, query).await,
                Rows::Limits => self.reads.limits(asks, query).await,
                Rows::Audit => self.reads.audit(asks, query).await,
            }
        };
        let found = bounded(look).await;
        if let Err(ReadFault::Denied(_)) = found {
            self.audit_refusal(&caller, rows.action(), EdgeRule::RoleTable).await;
        }
        Ok(response::read(&found?))
    }

    async fn body(&self, body: Incoming) -> Result<Vec<u8>, Refusal> {
        body::read(body, self.http.max_body_bytes, self.http.body_timeout).await
    }

    /// Sends what a worker audits as denied. The answer is the same without it, so a broker that is away only leaves a
    /// warning: nothing was changed, and the counter knows.
    async fn audit_refusal(&self, caller: &Caller, action: &str, rule: EdgeRule) {
        let Some(route) = self.routes.refusals() else { return };
        if !self.rates.audits(&caller.org, &caller.principal.actor_id()) {
            return;
        }
        let Some((envelope, body)) = commands::refusal(caller, action, rule, OffsetDateTime::now_utc()) else { return };
        if let Err(fault) = self.enqueue.message(&envelope, route, self.enqueue.best_lane(), body).await {
            tracing::warn!(error = %fault, edge.action = action, "a refusal was not audited");
        }
    }
}

/// The caller as the read side knows it.
fn reader(caller: &Caller) -> Reader<'_> {
    Reader { org: &caller.org, principal: &caller.principal, token_iat: caller.token_iat }
}
