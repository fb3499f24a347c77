//! Database errors by what can be done about them.

use std::borrow::Cow;

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum DbFault {
    /// The server is away, restarting or full: the same work can succeed later, and no message is to blame.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A race for locks was lost: a smaller transaction, or a later one, can win it.
    #[error("another transaction held what this one needed")]
    Contended(#[source] sqlx::Error),
    /// The session does not know what this connection has prepared, or refused to begin: a pooler stands between.
    #[error("a pooler in transaction mode stands before the database: set database.pooler = \"transaction\"")]
    Pooled(#[source] sqlx::Error),
    /// A statement failed for what it says.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// The role could read or change what isolation forbids; this never heals by itself.
    #[error("role {0} is superuser, may bypass row-level security, or owns tables; log in as the worker's own role")]
    Role(String),
    /// The tenant context changed while a handler ran: a bug or an attack, so nothing of the batch stands.
    #[error("the tenant context changed while it was in scope")]
    ContextChanged,
    /// A scope was dropped without being left, so what happened in it is not known.
    #[error("a tenant scope was not left in order")]
    ScopeOpen,
    /// The configuration has no part that this process needs.
    #[error("{0} is not configured for this process")]
    NotConfigured(&'static str),
}

impl From<sqlx::Error> for DbFault {
    fn from(error: sqlx::Error) -> Self {
        if code(&error).as_deref() == Some("MR001") {
            Self::ContextChanged
        } else if is_contended(&error) {
            Self::Contended(error)
        } else if is_pooled(&error) {
            Self::Pooled(error)
        } else if is_unavailable(&error) {
            Self::Unavailable(error)
        } else {
            Self::Statement(error)
        }
    }
}

impl DbFault {
    /// True when waiting helps.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Pooled(_))
    }

    /// The database has not answered for longer than any statement may take.
    pub fn silent() -> Self {
        Self::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|database| database.code())
}

/// The statement took longer than it may.
pub(crate) fn is_timeout(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some("57014")
}

/// A race for locks was lost: no serial order (40001), a deadlock (40P01), or a lock that did not come in time (55P03).
pub(crate) fn is_contended(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

/// The transaction was begun in a session that is another connection's: nothing else of its beginning divides.
pub(super) fn is_elsewhere(error: &sqlx::Error) -> bool {
    code(error).as_deref() == Some("22012")
}

/// 42P05 and 26000: a prepared statement that somebody else has, or nobody. 08P01 is how PgBouncer refuses a parameter of
/// the start. None of them is a message's fault, and without a pooler none of them can happen.
fn is_pooled(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    let refused = || database.message().contains("unsupported startup parameter");
    match database.code().as_deref() {
        Some("42P05" | "26000") => true,
        Some("08P01") => refused(),
        _ => false,
    }
}

/// Errors that say nothing about the statement: the connection, or the server's state.
fn is_unavailable(error: &sqlx::Error) -> bool {
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => return true,
        _ => return false,
    };
    let code = database.code().unwrap_or_default();
    // 57014 is our own bound on a statement: of the engine's statements, which are the same for every message, it speaks
    // of the server. 25P03 is a transaction that slept too long, as a stopped process does.
    // 08 connection, 53 resources, 58 the system around it, 28 and 3D a login or database that an operator has
    // yet to make, 57P01..3 shutdown and start, 25006 a standby.
    ["08", "53", "58", "28", "3D"].iter().any(|class| code.starts_with(class))
        || ["57P01", "57P02", "57P03", "57014", "25P03", "25006"].contains(&code.as_ref())
}
