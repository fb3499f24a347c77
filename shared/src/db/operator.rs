//! A named operator's act: a transaction across tenants that cannot commit without an audit event.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::DbFault;

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
