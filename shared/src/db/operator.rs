//! A named operator's act: a transaction across tenants that cannot commit without an audit event.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::{ContextKey, DbFault};
use crate::contract::TenantId;

/// A transaction as `millrace_maintenance`, which may see every tenant. Entered by the migrator's login only.
#[derive(Debug)]
pub struct OperatorTx {
    connection: PgConnection,
}

impl OperatorTx {
    /// Logs in, begins, and enters the role for this transaction alone.
    ///
    /// # Errors
    /// The server is away, or this login may not become `millrace_maintenance`.
    pub async fn begin(options: &PgConnectOptions) -> Result<Self, DbFault> {
        let mut connection = options.connect().await?;
        sqlx::raw_sql("BEGIN; SET LOCAL ROLE millrace_maintenance").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Puts a tenant in scope, for functions that work on the tenant in scope. The role sees all of them as before.
    ///
    /// # Errors
    /// The server is away.
    pub async fn enter(&mut self, tenant: &TenantId, key: &ContextKey) -> Result<(), DbFault> {
        let context = SecretString::from(key.seal(tenant));
        sqlx::query!("SELECT set_config('app.ctx', $1, true)", context.expose_secret()).fetch_one(self.conn()).await?;
        Ok(())
    }

    /// An executor that row-level security does not bound.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits, and goes on in a transaction that can only read.
    pub(crate) async fn commit_then_read(mut self) -> Result<Self, DbFault> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        sqlx::raw_sql("BEGIN READ ONLY; SET LOCAL ROLE millrace_maintenance").execute(&mut self.connection).await?;
        Ok(self)
    }

    /// Commits; reached only through [`crate::pipeline::OperatorAct`], which writes the audit event first.
    pub(crate) async fn commit(mut self) -> Result<(), DbFault> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(())
    }
}
