//! The transaction of a batch, and the scopes inside it.
//!
//! [`BatchTx`] alone commits. [`BatchTx::scope`] puts one tenant in scope, [`ScopedTx::authorize`] turns the scope
//! into the [`TenantTx`] that handlers get, and leaving verifies and clears the context. What a handler must not
//! do does not compile:
//!
//! ```compile_fail,E0624
//! fn handler(batch: millrace::db::BatchTx) {
//!     let _ = batch.commit();
//! }
//! ```
//! ```compile_fail,E0624
//! fn handler(batch: &mut millrace::db::BatchTx, tenant: &millrace::contract::TenantId) {
//!     let _ = batch.scope(tenant);
//! }
//! ```
//! ```compile_fail,E0507
//! fn handler(tx: &mut millrace::db::TenantTx<'_>) -> Box<dyn Send + '_> {
//!     let taken: millrace::db::TenantTx<'_> = *tx;
//!     Box::new(taken)
//! }
//! ```
//! ```compile_fail,E0451
//! fn handler<'a>(scope: millrace::db::ScopedTx<'a>) -> millrace::db::TenantTx<'a> {
//!     millrace::db::TenantTx { scope, principal: millrace::contract::Principal::system("x") }
//! }
//! ```
//! ```compile_fail,E0624
//! async fn handler(pool: &millrace::db::AppPool) {
//!     let _ = pool.begin().await;
//! }
//! ```
//! ```compile_fail,E0277
//! async fn handler(tx: &mut millrace::db::TenantTx<'_>) {
//!     let _ = sqlx::query("SELECT 1").execute(tx).await;
//! }
//! ```
//!
//! Their compiling twin:
//!
//! ```
//! fn handler(tx: &mut millrace::db::TenantTx<'_>) -> String {
//!     let _connection: &mut sqlx::PgConnection = tx.conn();
//!     tx.tenant().to_string()
//! }
//!
//! async fn statement(pool: &millrace::db::AppPool, tx: &mut millrace::db::TenantTx<'_>) {
//!     let _ = pool.check().await;
//!     let _ = sqlx::query("SELECT 1").execute(tx.conn()).await;
//! }
//! ```

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnection, PgTransaction};
use uuid::Uuid;

use super::{AppPool, ContextKey, DbFault};
use crate::contract::{Principal, TenantId};

/// The one transaction of a batch. Dropped without commit it rolls back.
#[derive(Debug)]
pub struct BatchTx {
    tx: PgTransaction<'static>,
    context: ContextKey,
    /// A scope was entered and not left.
    scoped: bool,
}

impl BatchTx {
    /// Begins.
    pub(crate) async fn begin(pool: &AppPool, context: &ContextKey) -> Result<Self, DbFault> {
        Ok(Self { tx: pool.begin().await?, context: context.clone(), scoped: false })
    }

    /// For the engine's own statements, which are written across tenants.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Gives the statements that follow more time: storing a large body takes longer than a handler may.
    pub(crate) async fn allow(&mut self, time: std::time::Duration) -> Result<(), DbFault> {
        let bound = format!("{}ms", time.as_millis());
        sqlx::query!("SELECT set_config('statement_timeout', $1, true)", bound).fetch_one(self.conn()).await?;
        Ok(())
    }

    /// Puts one tenant in scope. Two are never in scope at once.
    pub(crate) async fn scope(&mut self, tenant: &TenantId) -> Result<ScopedTx<'_>, DbFault> {
        if self.scoped {
            return Err(DbFault::ScopeOpen);
        }
        let context = SecretString::from(self.context.seal(tenant));
        self.scoped = true;
        sqlx::query!("SELECT set_config('app.ctx', $1, true)", context.expose_secret()).fetch_one(self.conn()).await?;
        Ok(ScopedTx { batch: self, tenant: tenant.clone(), context })
    }

    /// Commits everything.
    pub(crate) async fn commit(self) -> Result<(), DbFault> {
        if self.scoped {
            return Err(DbFault::ScopeOpen);
        }
        Ok(self.tx.commit().await?)
    }

    /// Rolls back everything.
    pub(crate) async fn roll_back(self) -> Result<(), DbFault> {
        Ok(self.tx.rollback().await?)
    }
}

/// One tenant in scope, nobody authorized yet.
#[derive(Debug)]
pub struct ScopedTx<'a> {
    batch: &'a mut BatchTx,
    tenant: TenantId,
    context: SecretString,
}

impl ScopedTx<'_> {
    /// For the statements of authorization, inside the scope.
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        self.batch.conn()
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Verifies that the context is still the one that was set, and clears it.
    pub(crate) async fn leave(self) -> Result<(), DbFault> {
        let row = sqlx::query!(
            "WITH scope AS MATERIALIZED (SELECT current_setting('app.ctx', true) AS context)
             SELECT scope.context, set_config('app.ctx', '', true) FROM scope"
        )
        .fetch_one(self.batch.conn())
        .await?;
        if row.context.as_deref() != Some(self.context.expose_secret()) {
            return Err(DbFault::ContextChanged);
        }
        self.batch.scoped = false;
        Ok(())
    }
}

/// What a handler holds of the database: one tenant's rows, in the batch's transaction, for a principal that may.
#[derive(Debug)]
pub struct TenantTx<'a> {
    pub(super) scope: ScopedTx<'a>,
    pub(super) principal: Principal,
}

impl<'a> TenantTx<'a> {
    /// An executor. Row-level security shows it this tenant's rows and no others.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.scope.batch.conn()
    }

    /// The tenant in scope.
    pub fn tenant(&self) -> &TenantId {
        &self.scope.tenant
    }

    /// Who asks, with the role it has now: the lesser of its token's and its membership's.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Lets one transaction at a time change this tenant from here on. Handlers whose changes meet, in rows that are not
    /// there yet or in an order that callers choose, begin with it; tenants are visited in one order, so nobody deadlocks.
    ///
    /// # Errors
    /// The statement failed.
    pub async fn alone(&mut self) -> sqlx::Result<()> {
        let org = self.tenant().to_string();
        sqlx::query!("SELECT org_id FROM app.tenants WHERE org_id = $1 FOR NO KEY UPDATE", org)
            .fetch_all(self.conn())
            .await?;
        Ok(())
    }

    /// A fresh id for a row of ours: UUIDv7, so that keys grow with time and leak no volume.
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Ends the authorization; the scope stays for the tenant's next message.
    pub(crate) fn release(self) -> ScopedTx<'a> {
        self.scope
    }
}
