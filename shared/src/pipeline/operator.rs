//! An operator's act: its change and its audit event commit together, or not at all.
//!
//! An act that has noted nothing cannot commit, and who holds its connection cannot take the transaction out of it:
//!
//! ```compile_fail,E0599
//! async fn quietly(act: millrace::pipeline::OperatorAct) {
//!     let _ = act.commit_all().await;
//! }
//! ```
//! ```compile_fail,E0616
//! async fn quietly(act: millrace::pipeline::OperatorAct) {
//!     let _ = act.tx.commit().await;
//! }
//! ```
//! ```compile_fail,E0451
//! fn quietly(act: millrace::pipeline::OperatorAct) -> millrace::pipeline::NotedAct {
//!     millrace::pipeline::NotedAct { act, events: Vec::new() }
//! }
//! ```
//!
//! Their compiling twin:
//!
//! ```
//! # use millrace::contract::TenantId;
//! # use millrace::pipeline::{NotedAct, OperatorAct, RoadFault};
//! async fn on_record(act: OperatorAct, org: &TenantId) -> Result<(), RoadFault> {
//!     let noted: NotedAct = act.note(org, "tenants.create", ("tenant", org.as_str()), serde_json::Map::new())?;
//!     noted.commit_all().await
//! }
//! ```

use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::{OutboxRow, store};
use super::road::RoadFault;
use super::turns;
use crate::contract::{AuditEvent, AuditEventKey, CheckedContract, Outcome, Principal, Signer, TenantId, Timestamp};
use crate::db::{ContextKey, DbFault, OperatorTx};

/// One act of a named operator across tenants.
#[derive(Debug)]
pub struct OperatorAct {
    tx: OperatorTx,
    signer: Signer,
    event_key: AuditEventKey,
    operator: String,
    policy_version: String,
}

impl OperatorAct {
    /// Begins the act; `operator` is the name the audit line will show.
    ///
    /// # Errors
    /// The server is away, or this login may not act.
    pub async fn begin(
        options: &PgConnectOptions,
        signer: Signer,
        event_key: AuditEventKey,
        operator: &str,
        contract: &CheckedContract,
    ) -> Result<Self, DbFault> {
        let tx = OperatorTx::begin(options).await?;
        Ok(Self { tx, signer, event_key, operator: operator.to_owned(), policy_version: contract.roles().version() })
    }

    /// An executor that row-level security does not bound.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }

    /// Puts a tenant in scope, for functions that work on the tenant in scope.
    ///
    /// # Errors
    /// The server is away.
    pub async fn enter(&mut self, org: &TenantId, key: &ContextKey) -> Result<(), DbFault> {
        self.tx.enter(org, key).await
    }

    /// Waits until no handler is at the tenant, and keeps them away until the act ends. Taken before anything else is
    /// locked, as handlers do.
    ///
    /// # Errors
    /// The server is away.
    pub async fn take_turn(&mut self, org: &TenantId) -> Result<(), DbFault> {
        turns::wait_long(self.tx.conn(), org).await
    }

    /// Whose act it is.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Notes what was done; from then on the act can commit.
    ///
    /// # Errors
    /// The event cannot be sealed; nothing is committed.
    pub fn note(
        self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<NotedAct, RoadFault> {
        let mut noted = NotedAct { act: self, events: Vec::new() };
        noted.and_note(org, action, resource, metadata)?;
        Ok(noted)
    }

    /// Writes the one audit event and commits.
    ///
    /// # Errors
    /// Nothing is committed.
    pub async fn commit(
        self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<(), RoadFault> {
        self.note(org, action, resource, metadata)?.commit_all().await
    }

    fn event(
        &self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<OutboxRow, RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let act = Uuid::now_v7().to_string();
        let publisher = self.signer.publisher().as_str();
        let event = AuditEvent {
            timestamp: now.to_string(),
            org_id: org.to_string(),
            actor_id: Principal::operator(&self.operator).actor_id(),
            action: action.to_owned(),
            resource_type: resource.0.to_owned(),
            resource_id: resource.1.to_owned(),
            metadata,
            event_id: self.event_key.event_id(org.as_str(), publisher, &act, Outcome::Applied, 0),
            outcome: Outcome::Applied.to_string(),
            policy_version: self.policy_version.clone(),
        };
        OutboxRow::audit(&self.signer, &event, now).map_err(RoadFault::Audit)
    }
}

/// An act with at least one audit event, which is why this type alone commits.
#[derive(Debug)]
pub struct NotedAct {
    act: OperatorAct,
    events: Vec<OutboxRow>,
}

impl NotedAct {
    /// Notes one thing more.
    ///
    /// # Errors
    /// The event cannot be sealed; nothing is committed.
    pub fn and_note(
        &mut self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<(), RoadFault> {
        self.events.push(self.act.event(org, action, resource, metadata)?);
        Ok(())
    }

    /// Writes every event and commits.
    ///
    /// # Errors
    /// Nothing is committed.
    pub async fn commit_all(self) -> Result<(), RoadFault> {
        Ok(self.stored().await?.commit().await?)
    }

    /// Commits, and only then lets the operator read: what was seen is on record even if the reading is broken off.
    ///
    /// # Errors
    /// Nothing is committed, or the connection was lost after the commit.
    pub async fn commit_then_read(self) -> Result<OperatorRead, RoadFault> {
        Ok(OperatorRead { tx: self.stored().await?.commit_then_read().await? })
    }

    async fn stored(self) -> Result<OperatorTx, DbFault> {
        let Self { act: OperatorAct { mut tx, .. }, events } = self;
        store(tx.conn(), &events).await?;
        Ok(tx)
    }
}

/// Reading across tenants, with its audit event committed before.
#[derive(Debug)]
pub struct OperatorRead {
    tx: OperatorTx,
}

impl OperatorRead {
    /// An executor that reads every tenant and writes none.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }
}
