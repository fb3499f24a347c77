//! Pools of connections whose role is checked one by one.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgTransaction};
use uuid::Uuid;

use super::DbFault;
use super::fault::is_elsewhere;
use crate::config::{DatabaseConfig, DatabaseUser, Pooler};

/// How long a batch waits for a connection before the database counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the look at a connection that comes back may take. Without a bound one whose peer is silent would never come
/// back, and never be replaced.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Begins every transaction of a pool. No tenant is in scope, whatever a session has been left with. Behind a pooler a
/// session also knows the statements that other connections have prepared, under the very names that this one is about to
/// use. Where none is configured the session has to be the connection's own (see [`move_in`]): with a pooler that nobody told us
/// of it could run a statement of that name which says something else.
#[derive(Debug, Clone, Copy)]
struct Begin {
    direct: &'static str,
    pooled: &'static str,
}

/// Fails with a division by zero in a session that is another connection's. PgBouncer and its like carry the name of the
/// application from session to session, as the client's; the mark beside it stays where it was made.
macro_rules! at_home {
    () => {
        "SELECT 1 / (current_setting('application_name') IS NOT DISTINCT FROM current_setting('app.home', true))::int"
    };
}

const APP: Begin = Begin {
    direct: concat!("BEGIN; SET LOCAL app.ctx = ''; SET LOCAL statement_timeout = '2s'; ", at_home!()),
    pooled: "BEGIN; DEALLOCATE ALL; SET LOCAL app.ctx = ''; SET LOCAL statement_timeout = '2s'",
};
const RELAY: Begin = Begin {
    direct: concat!("BEGIN; SET LOCAL app.ctx = ''; ", at_home!()),
    pooled: "BEGIN; DEALLOCATE ALL; SET LOCAL app.ctx = ''",
};
const INDEXER: Begin = RELAY;
const READER: Begin = Begin {
    direct: concat!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL app.ctx = ''; SET LOCAL statement_timeout = '2s'; ",
        at_home!()
    ),
    pooled: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; DEALLOCATE ALL; SET LOCAL app.ctx = ''; \
        SET LOCAL statement_timeout = '2s'",
};

impl Begin {
    fn text(self, pooler: Pooler) -> &'static str {
        match pooler {
            Pooler::None => self.direct,
            Pooler::Transaction => self.pooled,
        }
    }
}

/// The worker's own pool. Handlers never see it.
#[derive(Debug, Clone)]
pub struct AppPool {
    pool: CheckedPool,
    patience: Duration,
}

/// A pool as the relay role, which can see and delete outbox rows.
#[derive(Debug, Clone)]
pub struct RelayPool(CheckedPool);

/// A pool as the reader role, which sees one tenant at a time and changes nothing; a replica will do.
#[derive(Debug, Clone)]
pub struct ReaderPool(CheckedPool);

/// A pool as the indexer's role, which adds to the index of the audit log and sees no line of it.
#[derive(Debug, Clone)]
pub struct IndexerPool(CheckedPool);

#[derive(Debug, Clone)]
struct CheckedPool {
    pool: PgPool,
    refused: Arc<OnceLock<String>>,
    begin: &'static str,
}

/// Options for one of the configured logins, for tools that open connections of their own.
///
/// # Errors
/// The configuration has no URL or no such login.
pub fn connect_options(config: &DatabaseConfig, user: DatabaseUser) -> Result<PgConnectOptions, DbFault> {
    let read_url = config.read_url.as_ref().filter(|_| user == DatabaseUser::Reader);
    let url = read_url.or(config.url.as_ref()).ok_or(DbFault::NotConfigured("database.url"))?;
    let login = config.logins.get(&user).ok_or(DbFault::NotConfigured("database.logins"))?;
    let options = PgConnectOptions::from_str(url.as_str())?
        .username(&login.user)
        .password(login.password.expose_secret())
        .application_name("millrace");
    Ok(match config.pooler {
        Pooler::None => options,
        // What was prepared in one transaction is not there in the next, and PgBouncer refuses a start-up parameter that
        // it cannot keep track of.
        Pooler::Transaction => options.statement_cache_capacity(0).extra_float_digits(None),
    })
}

impl AppPool {
    /// Prepares the pool; connections open when they are needed, so an absent server is waited for.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbFault> {
        let pool = CheckedPool::new(config, DatabaseUser::App, config.connections, APP)?;
        Ok(Self { pool, patience: config.batch_timeout })
    }

    /// Begins a transaction with its own bound on each statement. How long it waits for somebody else's lock is the role's.
    pub(super) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.pool.begin().await
    }

    /// Can a connection of an acceptable role be had?
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub async fn check(&self) -> Result<(), DbFault> {
        self.pool.check().await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.pool.close().await;
    }

    /// How long a transaction of a batch may take before the database counts as silent.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}

impl RelayPool {
    /// As [`AppPool::new`], for the relay role.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig, connections: u32) -> Result<Self, DbFault> {
        CheckedPool::new(config, DatabaseUser::Relay, connections, RELAY).map(Self)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.0.begin().await
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
        CheckedPool::new(config, DatabaseUser::Reader, config.read_connections, READER).map(Self)
    }

    /// Begins a transaction that changes nothing and sees one moment, with its own bound on each statement.
    pub(super) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.0.begin().await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }
}

impl IndexerPool {
    /// As [`AppPool::new`], for the indexer's role. One connection: lines are indexed one batch after the other.
    ///
    /// # Errors
    /// The configuration lacks URL or login.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbFault> {
        CheckedPool::new(config, DatabaseUser::Indexer, 1, INDEXER).map(Self)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.0.begin().await
    }
}

impl CheckedPool {
    fn new(config: &DatabaseConfig, user: DatabaseUser, connections: u32, begin: Begin) -> Result<Self, DbFault> {
        let (options, begin) = (connect_options(config, user)?, begin.text(config.pooler));
        let pooler = config.pooler;
        let refused = Arc::new(OnceLock::new());
        let seen = Arc::clone(&refused);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let seen = Arc::clone(&seen);
                Box::pin(async move {
                    if pooler == Pooler::None {
                        move_in(connection).await?;
                    }
                    check_role(connection, begin, &seen).await
                })
            })
            .after_release(move |connection, _| Box::pin(async move { released(connection, pooler).await }))
            .connect_lazy_with(options);
        Ok(Self { pool, refused, begin })
    }

    async fn begin(&self) -> Result<PgTransaction<'static>, DbFault> {
        self.pool.begin_with(self.begin).await.map_err(|error| self.explain(error))
    }

    async fn check(&self) -> Result<(), DbFault> {
        self.pool.acquire().await.map(drop).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: sqlx::Error) -> DbFault {
        match self.refused.get() {
            Some(role) => DbFault::Role(role.clone()),
            None if is_elsewhere(&error) => DbFault::Pooled(error),
            None => error.into(),
        }
    }
}

/// Marks a new connection's session as its own, under a name that no other connection has.
async fn move_in(connection: &mut PgConnection) -> sqlx::Result<()> {
    let name = format!("millrace {}", Uuid::now_v7().simple());
    sqlx::query!(
        "SELECT set_config('application_name', $1, false) AS name, set_config('app.home', $1, false) AS home",
        name
    )
    .fetch_one(connection)
    .await
    .map(|_| ())
}

/// A role above RLS would make every policy a comment, so such a connection is never used. In a transaction, since behind
/// a pooler two statements may otherwise reach two sessions.
async fn check_role(
    connection: &mut PgConnection,
    begin: &'static str,
    refused: &OnceLock<String>,
) -> sqlx::Result<()> {
    let mut tx = connection.begin_with(begin).await?;
    let row = sqlx::query!(
        r#"SELECT session_user::text AS "role!",
             (r.rolsuper OR EXISTS (
               SELECT 1 FROM pg_roles b WHERE (b.rolsuper OR b.rolbypassrls) AND pg_has_role(session_user, b.oid, 'MEMBER')
             ) OR EXISTS (
               SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname IN ('app', 'engine', 'priv') AND pg_has_role(session_user, c.relowner, 'MEMBER'))) AS "above!"
           FROM pg_roles r WHERE r.rolname = session_user"#
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.rollback().await?;
    if row.above {
        let _ = refused.set(row.role);
        return Err(sqlx::Error::Configuration("role above row-level security".into()));
    }
    Ok(())
}

/// May a connection go back? Not when its peer is silent.
async fn released(connection: &mut PgConnection, pooler: Pooler) -> sqlx::Result<bool> {
    let look = async {
        match pooler {
            Pooler::None => left_clean(connection).await,
            // The session went to somebody else with the COMMIT: what another one has says nothing.
            Pooler::Transaction => connection.ping().await.map(|()| true),
        }
    };
    tokio::time::timeout(RELEASE_TIMEOUT, look).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
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
