//! Pools of connections whose role is checked one by one.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgTransaction};

use super::DbFault;
use crate::config::{DatabaseConfig, DatabaseUser};

/// How long a batch waits for a connection before the database counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The worker's own pool. Handlers never see it.
#[derive(Debug, Clone)]
pub struct AppPool(CheckedPool);

/// A pool as the relay role, which can see and delete outbox rows.
#[derive(Debug, Clone)]
pub struct RelayPool(CheckedPool);

/// A pool as the reader role, which sees one tenant at a time and changes nothing; a replica will do.
#[derive(Debug, Clone)]
pub struct ReaderPool(CheckedPool);

#[derive(Debug, Clone)]
struct CheckedPool {
    pool: PgPool,
    refused: Arc<OnceLock<String>>,
}

/// Options for one of the configured logins, for tools that open connections of their own.
///
/// # Errors
/// The configuration has no URL or no such login.
pub fn connect_options(config: &DatabaseConfig, user: DatabaseUser) -> Result<PgConnectOptions, DbFault> {
    let read_url = config.read_url.as_ref().filter(|_| user == DatabaseUser::Reader);
    let url = read_url.or(config.url.as_ref()).ok_or(DbFault::NotConfigured("database.url"))?;
    let login = config.logins.get(&user).ok_or(DbFault::NotConfigured("database.logins"))?;
    Ok(PgConnectOptions::from_str(url.as_str())?
        .username(&login.user)
        .password(login.password.expose_secret())
        .application_name("millrace"))
}

impl AppPool {
    /// Prepares the pool; connections open when they are needed, so an absent server is waited for.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbFault> {
        CheckedPool::new(connect_options(config, DatabaseUser::App)?, config.connections).map(Self)
    }

    /// Begins a transaction with its own bounds on each statement, and on how long it waits for somebody else's lock.
    pub(super) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        let bounded = "BEGIN; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '1s'";
        self.0.pool.begin_with(bounded).await.map_err(|error| self.0.explain(error))
    }

    /// Can a connection of an acceptable role be had?
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub async fn check(&self) -> Result<(), DbFault> {
        self.0.check().await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl RelayPool {
    /// As [`AppPool::new`], for the relay role.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig, connections: u32) -> Result<Self, DbFault> {
        CheckedPool::new(connect_options(config, DatabaseUser::Relay)?, connections).map(Self)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.0.pool.begin().await.map_err(|error| self.0.explain(error))
    }

    /// Can a connection of an acceptable role be had?
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub async fn check(&self) -> Result<(), DbFault> {
        self.0.check().await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl ReaderPool {
    /// As [`AppPool::new`], for the reader role.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbFault> {
        CheckedPool::new(connect_options(config, DatabaseUser::Reader)?, config.read_connections).map(Self)
    }

    /// Begins a transaction that changes nothing and sees one moment, with its own bound on each statement.
    pub(super) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        let bounded = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = '2s'";
        self.0.pool.begin_with(bounded).await.map_err(|error| self.0.explain(error))
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl CheckedPool {
    fn new(options: PgConnectOptions, connections: u32) -> Result<Self, DbFault> {
        let refused = Arc::new(OnceLock::new());
        let seen = Arc::clone(&refused);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let seen = Arc::clone(&seen);
                Box::pin(async move { check_role(connection, &seen).await })
            })
            .after_release(|connection, _| Box::pin(async move { left_clean(connection).await }))
            .connect_lazy_with(options);
        Ok(Self { pool, refused })
    }

    async fn check(&self) -> Result<(), DbFault> {
        self.pool.acquire().await.map(drop).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: sqlx::Error) -> DbFault {
        match self.refused.get() {
            Some(role) => DbFault::Role(role.clone()),
            None => error.into(),
        }
    }
}

/// A role above RLS would make every policy a comment, so such a connection is never used.
async fn check_role(connection: &mut PgConnection, refused: &OnceLock<String>) -> sqlx::Result<()> {
    let row = sqlx::query!(
        r#"SELECT session_user::text AS "role!",
             (r.rolsuper OR EXISTS (
               SELECT 1 FROM pg_roles b WHERE (b.rolsuper OR b.rolbypassrls) AND pg_has_role(session_user, b.oid, 'MEMBER')
             ) OR EXISTS (
               SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname IN ('app', 'engine', 'priv') AND pg_has_role(session_user, c.relowner, 'MEMBER'))) AS "above!"
           FROM pg_roles r WHERE r.rolname = session_user"#
    )
    .fetch_one(&mut *connection)
    .await?;
    if row.above {
        let _ = refused.set(row.role);
        return Err(sqlx::Error::Configuration("role above row-level security".into()));
    }
    Ok(())
}

/// A connection goes back only without a tenant context; one that still has it is closed.
async fn left_clean(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::query!("SELECT nullif(current_setting('app.ctx', true), '') AS context")
        .fetch_one(&mut *connection)
        .await?;
    if row.context.is_some() {
        tracing::error!("a connection came back with a tenant context; closing it");
        return Ok(false);
    }
    Ok(true)
}
