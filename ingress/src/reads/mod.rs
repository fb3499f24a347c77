//! What a tenant may look at: its rows as the reader role sees them, under row-level security, from a replica if need
//! be. Nothing that accepts messages depends on it.

mod audit;
mod billing;
mod erasures;
mod exports;
mod fault;
mod limits;
mod members;
mod operations;
mod page;
mod projects;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use millrace::config::DatabaseConfig;
use millrace::contract::{Action, Gate, MessageId, Permission, Principal, RoleTable, TenantId};
use millrace::db::{ContextKey, DbFault, ReadRequest, ReadTx, ReaderPool};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;

pub use exports::Prepared;
pub use fault::ReadFault;
pub use operations::wait_of;

/// Requests that may wait for an operation at once; beyond them the answer is what is known at once.
const MOST_WAITING: usize = 256;

/// Longest look at the database: every statement is bounded by the server, and one that is not answered by then has a
/// silent peer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Who asks, as the edge has authenticated it.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The tenant it belongs to.
    pub org: &'a TenantId,
    /// Who, with the role of its token.
    pub principal: &'a Principal,
    /// When its token was issued, in unix seconds.
    pub token_iat: i64,
}

/// The read routes.
#[derive(Debug, Clone)]
pub struct Reads {
    /// `None` when no login of the reader is configured.
    database: Option<Database>,
    roles: RoleTable,
    waiting: Arc<Semaphore>,
    /// Is the audit log indexed?
    indexed: bool,
}

#[derive(Debug, Clone)]
struct Database {
    pool: ReaderPool,
    key: ContextKey,
}

impl Reads {
    /// Prepares the pool, if `[database.logins.reader]` is configured; connections open when they are needed. Must be
    /// called inside a Tokio runtime.
    ///
    /// # Errors
    /// The configured address cannot be used.
    pub fn new(config: &DatabaseConfig, roles: RoleTable) -> Result<Self, ReadFault> {
        let configured = config.logins.contains_key(&millrace::config::DatabaseUser::Reader);
        let database = match config.context_key.as_ref().filter(|_| configured) {
            Some(key) => Some(Database { pool: ReaderPool::new(config)?, key: ContextKey::new(key) }),
            None => None,
        };
        Ok(Self { database, roles, waiting: Arc::new(Semaphore::new(MOST_WAITING)), indexed: true })
    }

    /// Says that the audit log is not indexed here, so that nobody takes an empty index for an empty log.
    #[must_use]
    pub fn without_audit_index(self) -> Self {
        Self { indexed: false, ..self }
    }

    /// `GET /api/audit`: lines of the tenant's own audit log, newest first. A tenant that is held back may see who did what.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn audit(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        let asked = audit::Asked::parse(query)?;
        let mut tx = self.open(reader, Some("audit_log"), Gate::Open).await?;
        // After the permission, which says nothing about the deployment to those who may not look.
        if !self.indexed {
            return Err(ReadFault::NotIndexed);
        }
        let body = audit::read(&mut tx, &asked).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/projects`, newest first.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn projects(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        let page = page::Page::parse(query)?;
        let mut tx = self.open(reader, Some("project"), Gate::GoodStanding).await?;
        let body = projects::read(&mut tx, &page).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/members`, newest first.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn members(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        let page = page::Page::parse(query)?;
        let mut tx = self.open(reader, Some("member"), Gate::GoodStanding).await?;
        let body = members::read(&mut tx, &page).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/settings`
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn settings(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        page::none(query)?;
        let mut tx = self.open(reader, Some("settings"), Gate::GoodStanding).await?;
        let body = settings::read(&mut tx).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/billing`; a tenant that is held back can still see what it owes.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn billing(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        page::none(query)?;
        let mut tx = self.open(reader, Some("billing"), Gate::Open).await?;
        let body = billing::read(&mut tx).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/limits`: what the tenant is entitled to and has used. Part of its plan, so it takes what billing does.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn limits(&self, reader: Reader<'_>, query: Option<&str>) -> Result<Value, ReadFault> {
        page::none(query)?;
        let mut tx = self.open(reader, Some("billing"), Gate::Open).await?;
        let body = limits::read(&mut tx).await?;
        Ok(closed(tx, body).await)
    }

    /// `GET /api/operations/{id}/certificate` of a message whose id was made for this tenant: `None` while its erasure is not
    /// executed, or when it planned none. A tenant that is held back, or closed, has a right to it all the same.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn certificate(
        &self,
        reader: Reader<'_>,
        message: &MessageId,
        query: Option<&str>,
    ) -> Result<Option<String>, ReadFault> {
        page::none(query)?;
        let mut tx = self.open(reader, Some("compliance"), Gate::Always).await?;
        let text = erasures::certificate(&mut tx, message).await?;
        tx.end().await?;
        Ok(text)
    }

    /// `GET /api/operations/{id}/export` of a message whose id was made for this tenant: what the archive is made of; `None`
    /// when it asked for none. A tenant that is held back, or closed, may fetch what it asked for before.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub async fn export(
        &self,
        reader: Reader<'_>,
        message: &MessageId,
        query: Option<&str>,
    ) -> Result<Option<Prepared>, ReadFault> {
        page::none(query)?;
        let permission = Permission::new("compliance", Action::Export);
        let mut tx = self.open_for(reader, Some(permission), Gate::Always).await?;
        let prepared = exports::prepared(&mut tx, message).await?;
        tx.end().await?;
        Ok(prepared)
    }

    /// One tenant in scope for somebody who may read `resource`.
    async fn open(&self, reader: Reader<'_>, resource: Option<&'static str>, gate: Gate) -> Result<ReadTx, ReadFault> {
        self.open_for(reader, resource.map(|resource| Permission::new(resource, Action::Read)), gate).await
    }

    /// One tenant in scope for somebody who has this permission.
    async fn open_for(
        &self,
        reader: Reader<'_>,
        permission: Option<Permission>,
        gate: Gate,
    ) -> Result<ReadTx, ReadFault> {
        let database = self.database.as_ref().ok_or(ReadFault::NotConfigured)?;
        let request = ReadRequest { principal: reader.principal, token_iat: reader.token_iat, permission, gate };
        let scope = database.pool.read(reader.org, &database.key).await?;
        Ok(scope.authorize(request, &self.roles).await??)
    }
}

/// A look at the database that ends, whatever the database does.
///
/// # Errors
/// Those of the look, and [`ReadFault::Unavailable`].
pub async fn bounded<T>(look: impl Future<Output = Result<T, ReadFault>>) -> Result<T, ReadFault> {
    tokio::time::timeout(LOOK_TIMEOUT, look).await.unwrap_or_else(|_| Err(DbFault::silent().into()))
}

/// The body, after the transaction that it comes from. That its end was not confirmed takes nothing from what was read.
async fn closed(tx: ReadTx, body: Value) -> Value {
    if let Err(fault) = tx.end().await {
        tracing::debug!(error = %fault, "a read's transaction did not end in order");
    }
    body
}

/// A moment as text, RFC 3339 in UTC.
fn moment(at: OffsetDateTime) -> Value {
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}
