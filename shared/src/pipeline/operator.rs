//! An operator's act: its change and its audit event commit together, or not at all.

use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::{OutboxRow, store};
use super::road::RoadFault;
use crate::contract::{AuditEvent, AuditEventKey, CheckedContract, Outcome, Principal, Signer, TenantId, Timestamp};
use crate::db::{DbFault, OperatorTx};

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

    /// Writes the audit event and commits.
    ///
    /// # Errors
    /// Nothing is committed.
    pub async fn commit(
        mut self,
        org: &TenantId,
        action: &str,
        resource: (&str, &str),
        metadata: Map<String, Value>,
    ) -> Result<(), RoadFault> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let act = Uuid::now_v7().to_string();
        let event = AuditEvent {
            timestamp: now.to_string(),
            org_id: org.to_string(),
            actor_id: Principal::operator(&self.operator).actor_id(),
            action: action.to_owned(),
            resource_type: resource.0.to_owned(),
            resource_id: resource.1.to_owned(),
            metadata,
            event_id: self.event_key.event_id(
                org.as_str(),
                self.signer.publisher().as_str(),
                &act,
                Outcome::Applied,
                0,
            ),
            outcome: Outcome::Applied.to_string(),
            policy_version: self.policy_version.clone(),
        };
        let row = OutboxRow::audit(&self.signer, &event, now).map_err(RoadFault::Audit)?;
        store(self.tx.conn(), &[row]).await.map_err(DbFault::from)?;
        Ok(self.tx.commit().await?)
    }
}
