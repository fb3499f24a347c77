//! What the isolation prover may do to a database: try statements in somebody's place, and undo them.
//!
//! A [`ProbeTx`] has no way to commit what it wrote. Each statement goes through the extended protocol, which takes
//! one statement at a time, and statements that end a transaction are refused.

use futures_util::TryStreamExt;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, FromRow};

use super::{ContextKey, DbFault};
use crate::contract::TenantId;

/// `app.cur_org()` without its MAC: the mutant that shows whether the seal is probed at all.
pub const UNSEALED: &str = "CREATE OR REPLACE FUNCTION app.cur_org() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT substr(nullif(current_setting('app.ctx', true), ''), 66) $$";

/// Writes an operation under another tenant's name with the tag of the tenant in scope, as injected SQL could.
pub const RECORD_UNDER_A_STOLEN_TAG: &str =
    "SELECT engine.record_operations(ARRAY[split_part(current_setting('app.ctx'), '.', 1) || '.prove'], '{p}', '{m}', '{c}',
       '{applied}', '{NULL}', '{NULL}', '{NULL}', now())";

/// Lets DDL on a clone leave out triggers of foreign keys; a superuser's setting, for this transaction.
pub const WITHOUT_TRIGGERS: &str = "SET LOCAL session_replication_role = replica";
/// Ends [`WITHOUT_TRIGGERS`].
pub const WITH_TRIGGERS: &str = "SET LOCAL session_replication_role = origin";

/// Begins; nothing may hold up the others of a live database for long.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '1s'; SET LOCAL jit = off;
    SET CONSTRAINTS ALL IMMEDIATE";

/// First words of statements that would end the transaction, and with it what a probe rests on.
const ENDS: [&str; 7] = ["COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE", "BEGIN", "START"];

/// In whose place a statement is tried.
#[derive(Debug, Clone, Copy)]
pub struct Stand<'a> {
    /// Another role than the login's; only a superuser's login can take it.
    pub role: Option<&'a str>,
    /// The tenant in scope.
    pub scope: Scope<'a>,
}

/// The tenant context of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// As it is; in a new transaction, none.
    Untouched,
    /// Left, as after a scope.
    Left,
    /// One tenant.
    Tenant(&'a TenantId),
    /// The id of one tenant under the tag of another, as injected SQL could set it.
    Forged {
        /// Whose tag.
        tag_of: &'a TenantId,
        /// Whose id.
        tenant: &'a TenantId,
    },
}

/// What is tried.
#[derive(Debug, Clone)]
pub enum Act {
    /// Any one statement.
    Statement(String),
    /// `COPY … TO STDOUT`; its rows are counted.
    CopyOut(String),
    /// `COPY … FROM STDIN`, with no rows.
    CopyIn(String),
}

/// What PostgreSQL said.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Rows seen or changed.
    Rows(u64),
    /// Refused.
    Refused(Refusal),
}

/// Why PostgreSQL refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// In words.
    pub message: String,
    /// The constraint, when one is the reason.
    pub constraint: Option<String>,
    /// The column, when one is the reason.
    pub column: Option<String>,
}

/// A transaction in which statements are tried and undone. Dropped it rolls back, and so does everything else.
#[derive(Debug)]
pub struct ProbeTx {
    connection: PgConnection,
    key: ContextKey,
}

impl ProbeTx {
    /// Logs in and begins.
    ///
    /// # Errors
    /// The server is away, or the login is refused.
    pub async fn begin(options: &PgConnectOptions, key: &ContextKey) -> Result<Self, DbFault> {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(BEGIN).execute(&mut connection).await?;
        Ok(Self { connection, key: key.clone() })
    }

    /// Rolls back and begins again, on the same connection.
    ///
    /// # Errors
    /// The server is away.
    pub async fn restart(&mut self) -> Result<(), DbFault> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        sqlx::raw_sql(BEGIN).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Rolls back, commits a read-only transaction that had this tenant in scope, and begins again: what a connection
    /// is like after a batch.
    ///
    /// # Errors
    /// The server is away.
    pub async fn restart_after_commit(&mut self, tenant: &TenantId) -> Result<(), DbFault> {
        sqlx::raw_sql("ROLLBACK; BEGIN READ ONLY").execute(&mut self.connection).await?;
        self.enter(Stand { role: None, scope: Scope::Tenant(tenant) }).await?;
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        sqlx::raw_sql(BEGIN).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Rolls back and leaves.
    ///
    /// # Errors
    /// The server is away.
    pub async fn end(mut self) -> Result<(), DbFault> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }

    /// Reads, as the login, with names resolved in `pg_catalog` alone, so that expressions print in full.
    ///
    /// # Errors
    /// The server is away, or the query is wrong.
    pub async fn fetch<T>(&mut self, query: &str) -> Result<Vec<T>, DbFault>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        sqlx::raw_sql("SAVEPOINT reading; SET LOCAL search_path = pg_catalog").execute(&mut self.connection).await?;
        let rows = sqlx::query_as(AssertSqlSafe(query.to_owned())).fetch_all(&mut self.connection).await?;
        sqlx::raw_sql("ROLLBACK TO reading").execute(&mut self.connection).await?;
        Ok(rows)
    }

    /// Tries a statement after some others, and undoes everything. When it succeeds, `look` (one text, in its own
    /// place) is read before that.
    ///
    /// # Errors
    /// The server is away; a statement's refusal is an [`Outcome`].
    pub async fn attempt(
        &mut self,
        stand: Stand<'_>,
        before: &[String],
        act: &Act,
        look: Option<(Stand<'_>, &str)>,
    ) -> Result<(Outcome, Option<String>), DbFault> {
        sqlx::raw_sql("SAVEPOINT attempt").execute(&mut self.connection).await?;
        self.enter(stand).await?;
        let mut outcome = Outcome::Rows(0);
        for statement in before {
            outcome = self.execute(statement).await?;
            if matches!(outcome, Outcome::Refused(_)) {
                break;
            }
        }
        if matches!(outcome, Outcome::Rows(_)) {
            outcome = self.act(act).await?;
        }
        let seen = match (look, &outcome) {
            (Some((stand, query)), Outcome::Rows(_)) => {
                self.enter(stand).await?;
                Some(sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut self.connection).await?)
            }
            _ => None,
        };
        sqlx::raw_sql("ROLLBACK TO attempt; RELEASE attempt").execute(&mut self.connection).await?;
        Ok((outcome, seen))
    }

    /// As [`Self::attempt`], but what succeeds stays until the transaction is rolled back.
    ///
    /// # Errors
    /// The server is away; a statement's refusal is an [`Outcome`].
    pub async fn keep(&mut self, scope: Scope<'_>, statement: &str) -> Result<Outcome, DbFault> {
        sqlx::raw_sql("SAVEPOINT keeping").execute(&mut self.connection).await?;
        self.enter(Stand { role: None, scope }).await?;
        let outcome = self.execute(statement).await?;
        let end = match outcome {
            Outcome::Rows(_) => "RELEASE keeping",
            Outcome::Refused(_) => "ROLLBACK TO keeping; RELEASE keeping",
        };
        sqlx::raw_sql(end).execute(&mut self.connection).await?;
        Ok(outcome)
    }

    async fn enter(&mut self, stand: Stand<'_>) -> Result<(), DbFault> {
        let statement = match stand.role {
            None => "SET LOCAL SESSION AUTHORIZATION DEFAULT".to_owned(),
            Some(role) => format!("SET LOCAL SESSION AUTHORIZATION '{}'", role.replace('\'', "''")),
        };
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connection).await?;
        let context = match stand.scope {
            Scope::Untouched => return Ok(()),
            Scope::Left => SecretString::from(String::new()),
            Scope::Tenant(tenant) => self.key.seal(tenant).into(),
            Scope::Forged { tag_of, tenant } => {
                let sealed = SecretString::from(self.key.seal(tag_of));
                let tag = sealed.expose_secret().split('.').next().unwrap_or_default();
                format!("{tag}.{tenant}").into()
            }
        };
        sqlx::query!("SELECT set_config('app.ctx', $1, true)", context.expose_secret())
            .fetch_one(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn act(&mut self, act: &Act) -> Result<Outcome, DbFault> {
        let done = match act {
            Act::Statement(statement) => return self.execute(statement).await,
            // The driver is out of step with the server after a COPY that was refused.
            Act::CopyOut(statement) => return Ok(Outcome::Rows(self.copy_out(statement).await?)),
            Act::CopyIn(statement) => match self.connection.copy_in_raw(statement).await {
                Ok(copy) => copy.finish().await,
                Err(fault) => Err(fault),
            },
        };
        said(done)
    }

    /// Lines of the text format end in a line feed, and escape those inside.
    async fn copy_out(&mut self, statement: &str) -> sqlx::Result<u64> {
        let mut stream = self.connection.copy_out_raw(statement).await?;
        let mut rows = 0;
        while let Some(chunk) = stream.try_next().await? {
            rows += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        Ok(rows)
    }

    async fn execute(&mut self, statement: &str) -> Result<Outcome, DbFault> {
        let word = statement.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty());
        if word.is_some_and(|word| ENDS.iter().any(|end| word.eq_ignore_ascii_case(end))) {
            let reason = "a probe must not end its transaction".into();
            return Err(DbFault::Statement(sqlx::Error::Configuration(reason)));
        }
        let query = sqlx::query(AssertSqlSafe(statement.to_owned())).persistent(false);
        said(query.execute(&mut self.connection).await.map(|done| done.rows_affected()))
    }
}

fn said(done: sqlx::Result<u64>) -> Result<Outcome, DbFault> {
    match done {
        Ok(rows) => Ok(Outcome::Rows(rows)),
        Err(sqlx::Error::Database(error)) => Ok(Outcome::Refused(Refusal {
            code: error.code().unwrap_or_default().into_owned(),
            message: error.message().to_owned(),
            constraint: error.constraint().map(str::to_owned),
            column: error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::column).map(str::to_owned),
        })),
        Err(fault) => Err(fault.into()),
    }
}
