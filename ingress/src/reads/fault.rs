//! Why a read is not answered.

use hyper::StatusCode;
use millrace::db::{DbFault, Refusal};

/// Why a read is not answered. The text is for operators; a caller sees [`ReadFault::code`].
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// `[database.logins.reader]` is not configured here.
    #[error("the reader's login is not configured")]
    NotConfigured,
    /// The database is away, or its reader is refused for what it could do.
    #[error("the database cannot be read")]
    Unavailable(#[source] DbFault),
    /// A statement failed for what it says.
    #[error("a read failed")]
    Failed(#[source] DbFault),
    /// A parameter that this route does not have, or the same one twice.
    #[error("the query has an unknown or repeated parameter")]
    Query,
    /// Not a page's size.
    #[error("limit is out of bounds")]
    Limit,
    /// Not a cursor that a page ended with.
    #[error("the cursor is none of ours")]
    Cursor,
    /// Not a value that the filter can have.
    #[error("a filter has a value that it cannot have")]
    Filter,
    /// `compliance.audit_index_days` is 0.
    #[error("the audit log is not indexed")]
    NotIndexed,
    /// The export is still being written.
    #[error("the export is not finished")]
    NotReady,
    /// The export was there: the code says why it is not any more.
    #[error("the export is gone: {0}")]
    Gone(&'static str),
    /// Not a time to wait.
    #[error("wait is out of bounds")]
    Wait,
    /// The principal may not: the rule.
    #[error("denied by {0}")]
    Denied(&'static str),
    /// The tenant's standing does not allow it: the code.
    #[error("refused for the tenant's standing: {0}")]
    Standing(&'static str),
    /// No such tenant, or a replica has not heard of it yet.
    #[error("the tenant is not there")]
    TenantUnknown,
}

impl ReadFault {
    /// The stable code of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConfigured | Self::Unavailable(_) => "reads_unavailable",
            Self::Failed(_) => "internal_error",
            Self::Query => "invalid_query",
            Self::Limit => "invalid_limit",
            Self::Cursor => "invalid_cursor",
            Self::Filter => "invalid_filter",
            Self::NotIndexed => "audit_index_off",
            Self::Wait => "invalid_wait",
            Self::NotReady => "export_not_ready",
            Self::Gone(code) => code,
            Self::Denied(rule) => rule,
            Self::Standing(code) => code,
            Self::TenantUnknown => "tenant_unknown",
        }
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotConfigured | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Query | Self::Limit | Self::Cursor | Self::Filter | Self::Wait => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Denied(_) | Self::Standing(_) => StatusCode::FORBIDDEN,
            Self::NotReady => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::TenantUnknown | Self::NotIndexed => StatusCode::NOT_FOUND,
        }
    }

    /// True when the same request may be answered a little later.
    pub fn is_passing(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<DbFault> for ReadFault {
    fn from(fault: DbFault) -> Self {
        match fault {
            DbFault::Unavailable(_) | DbFault::Contended(_) => Self::Unavailable(fault),
            DbFault::Role(_) | DbFault::NotConfigured(_) | DbFault::Pooled(_) => {
                tracing::error!(error = %fault, "reads are refused");
                Self::Unavailable(fault)
            }
            DbFault::Statement(_) | DbFault::ContextChanged | DbFault::ScopeOpen => {
                tracing::error!(error = %fault, "a read failed");
                Self::Failed(fault)
            }
        }
    }
}

impl From<sqlx::Error> for ReadFault {
    fn from(error: sqlx::Error) -> Self {
        DbFault::from(error).into()
    }
}

impl From<Refusal> for ReadFault {
    fn from(why: Refusal) -> Self {
        match why {
            Refusal::Denied(rule) => Self::Denied(rule),
            Refusal::Rejected(code) => Self::Standing(code),
            Refusal::TenantUnknown => Self::TenantUnknown,
        }
    }
}
