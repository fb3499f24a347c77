//! The transaction of a batch, and the scopes inside it.
//!
//! [`BatchTx`] alone commits. [`BatchTx::tenants`] goes from tenant to tenant, [`Tenants::scope`] puts one in scope, and
//! [`ScopedTx::authorize`] turns the scope into the [`TenantTx`] that handlers get. Going on to the next tenant verifies
//! that the context is still the one that was set; leaving verifies and clears the last. What a handler must not do does
//! not compile:
//!
//! ```compile_fail,E0624
//! fn handler(batch: millrace::db::BatchTx) {
//!     let _ = batch.commit();
//! }
//! ```
//! ```compile_fail,E0624
//! fn handler(batch: &mut millrace::db::BatchTx) {
//!     let _ = batch.tenants();
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
//!     millrace::db::TenantTx { scope, principal: millrace::contract::Principal::system("x"), applied_event: None }
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

use super::authorize::{Presence, TENANT_ERASED};
use super::pseudonyms::Pseudonyms;
use super::{AppPool, ContextKey, DbFault};
use crate::contract::{Principal, TenantId};

/// The one transaction of a batch. Dropped without commit it rolls back.
#[derive(Debug)]
pub struct BatchTx {
    tx: PgTransaction<'static>,
    context: ContextKey,
    /// A tenant was put in scope, and the last one not left.
    scoped: bool,
    /// Of the users that were asked about so far.
    pub(super) pseudonyms: Pseudonyms,
}

impl BatchTx {
    /// Begins.
    pub(crate) async fn begin(pool: &AppPool, context: &ContextKey) -> Result<Self, DbFault> {
        let tx = pool.begin().await?;
        Ok(Self { tx, context: context.clone(), scoped: false, pseudonyms: Pseudonyms::default() })
    }

    /// For the engine's own statements, which are written across tenants.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Gives the statements that follow more time: storing a large body takes longer than a handler may.
    pub(crate) async fn allow(&mut self, time: std::time::Duration) -> sqlx::Result<()> {
        let bound = format!("{}ms", time.as_millis());
        sqlx::query!("SELECT set_config('statement_timeout', $1, true)", bound).fetch_one(self.conn()).await?;
        Ok(())
    }

    /// A tenant's context, for a statement of the engine that writes for several tenants and proves each.
    pub(crate) fn context_of(&self, tenant: &TenantId) -> String {
        self.context.seal(tenant)
    }

    /// Begins to go from tenant to tenant. The engine's own statements have to wait until the last one is left.
    pub(crate) fn tenants(&mut self) -> Tenants<'_> {
        Tenants { batch: self, context: SecretString::from("") }
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

/// The way of a batch through its tenants. Two are never in scope at once.
#[derive(Debug)]
pub(crate) struct Tenants<'b> {
    batch: &'b mut BatchTx,
    /// What is in place now, and nobody may have changed; empty where no tenant is in scope.
    context: SecretString,
}

impl Tenants<'_> {
    /// Leaves the tenant before, verifying that its context still stands, and puts this one in scope. Says in the same
    /// round trip who these users of it are at present, and how audit lines name them; whoever is new there takes one more.
    pub(crate) async fn scope(&mut self, tenant: &TenantId, users: &[String]) -> Result<ScopedTx<'_>, DbFault> {
        let entering = SecretString::from(self.batch.context.seal(tenant));
        let (presence, unnamed) = self.enter(tenant, &entering, users).await?;
        self.context = entering;
        let mut scope = ScopedTx { batch: self.batch, tenant: tenant.clone(), presence: Some(presence) };
        scope.make_pseudonyms(unnamed).await?;
        Ok(scope)
    }

    /// Verifies that the last context still stands, and clears it.
    pub(crate) async fn leave(self) -> Result<(), DbFault> {
        let row = sqlx::query!(
            "WITH scope AS MATERIALIZED (SELECT coalesce(current_setting('app.ctx', true), '') AS context)
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

    /// Also returns which of the users have no pseudonym yet.
    async fn enter(
        &mut self,
        tenant: &TenantId,
        entering: &SecretString,
        users: &[String],
    ) -> Result<(Presence, Vec<String>), DbFault> {
        self.batch.scoped = true;
        let rows = sqlx::query!(
            r#"SELECT standing AS "standing!", user_id, member_role, session_epoch, removed AS "removed!", pseudonym
               FROM app.enter($1, $2, $3)"#,
            self.context.expose_secret(),
            entering.expose_secret(),
            users,
        )
        .fetch_all(self.batch.conn())
        .await?;
        let mut unnamed = Vec::new();
        self.batch.pseudonyms.learn_tenant(tenant, rows.iter().any(|row| row.standing == TENANT_ERASED));
        for row in &rows {
            match (&row.user_id, row.pseudonym) {
                (Some(user), Some(pseudonym)) => self.batch.pseudonyms.learn(tenant, user, Some(pseudonym)),
                // The operator's tenant has no users.
                (Some(user), None) if !tenant.is_operator() => unnamed.push(user.clone()),
                _ => {}
            }
        }
        let presence = rows
            .into_iter()
            .map(|row| (row.standing, row.user_id, (row.member_role, row.session_epoch, row.removed)))
            .collect();
        Ok((presence, unnamed))
    }
}

/// One tenant in scope, nobody authorized yet.
#[derive(Debug)]
pub struct ScopedTx<'a> {
    batch: &'a mut BatchTx,
    tenant: TenantId,
    /// Who its users are; `None` once a handler has run, which may have changed that.
    pub(super) presence: Option<Presence>,
}

impl ScopedTx<'_> {
    /// For the statements of authorization, and the engine's own in this scope.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        self.batch.conn()
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn learn_pseudonym(&mut self, user: &str, pseudonym: Option<Uuid>) {
        self.batch.pseudonyms.learn(&self.tenant, user, pseudonym);
    }
}

/// A transaction with one tenant in scope, which [`TenantTx`] and [`GroupTx`] are.
pub trait InTenant: Send + sealed::Sealed {
    /// An executor. Row-level security shows it this tenant's rows and no others.
    fn conn(&mut self) -> &mut PgConnection;

    /// The tenant in scope.
    fn tenant(&self) -> &TenantId;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::TenantTx<'_> {}
    impl Sealed for super::GroupTx<'_> {}
}

/// What a handler holds of the database: one tenant's rows, in the batch's transaction, for a principal that may. No other
/// handler of any worker is at this tenant meanwhile.
#[derive(Debug)]
pub struct TenantTx<'a> {
    pub(super) scope: ScopedTx<'a>,
    pub(super) principal: Principal,
    /// See [`TenantTx::applied_event`].
    pub(super) applied_event: Option<Uuid>,
}

impl InTenant for TenantTx<'_> {
    fn conn(&mut self) -> &mut PgConnection {
        self.scope.batch.conn()
    }

    fn tenant(&self) -> &TenantId {
        &self.scope.tenant
    }
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

    /// Id of the audit event that will say that this message was applied, for a document that names its line. Known for the
    /// system's own messages.
    pub fn applied_event(&self) -> Option<Uuid> {
        self.applied_event
    }

    pub(crate) fn name_applied_event(&mut self, event: Uuid) {
        self.applied_event = Some(event);
    }

    /// Gives the statements that follow more time, for work that is rare and long.
    ///
    /// # Errors
    /// The server is away.
    pub async fn allow(&mut self, time: std::time::Duration) -> sqlx::Result<()> {
        self.scope.batch.allow(time).await
    }

    /// A fresh id for a row of ours: UUIDv7, so that keys grow with time and leak no volume.
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Ends the authorization; the scope stays for the tenant's next message, which is authorized anew.
    pub(crate) fn release(self) -> ScopedTx<'a> {
        ScopedTx { presence: None, ..self.scope }
    }
}

/// What a handler holds of the database for several messages of one tenant, each of whose principals may.
#[derive(Debug)]
pub struct GroupTx<'a> {
    pub(super) scope: ScopedTx<'a>,
}

impl InTenant for GroupTx<'_> {
    fn conn(&mut self) -> &mut PgConnection {
        self.scope.batch.conn()
    }

    fn tenant(&self) -> &TenantId {
        &self.scope.tenant
    }
}

impl<'a> GroupTx<'a> {
    /// Ends the authorization, as [`TenantTx::release`].
    pub(crate) fn release(self) -> ScopedTx<'a> {
        ScopedTx { presence: None, ..self.scope }
    }
}
