//! Reading for somebody outside: one tenant in scope in a transaction that changes nothing.

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnection, PgTransaction};

use super::authorize::{Present, ROLE_TABLE, both_permit, standing_allows};
use super::{ContextKey, DbFault, ReaderPool, Refusal};
use crate::contract::{Gate, Permission, Principal, RoleTable, TenantId};

/// The standing that holds back changes and nothing else.
const READ_ONLY: &str = "access_read_only";

/// Who wants to read what.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'r> {
    /// Who.
    pub principal: &'r Principal,
    /// When its token was issued, in unix seconds.
    pub token_iat: i64,
    /// What the role table has to permit; `None` where being of the tenant is enough.
    pub permission: Option<Permission>,
    /// The standing it takes. A tenant that may only read is in good standing here.
    pub gate: Gate,
}

impl ReaderPool {
    /// Begins a transaction with one tenant in scope.
    ///
    /// # Errors
    /// The server is away, or the role is refused.
    pub async fn read(&self, tenant: &TenantId, key: &ContextKey) -> Result<ScopedRead, DbFault> {
        let mut tx = self.begin().await?;
        let context = SecretString::from(key.seal(tenant));
        sqlx::query!("SELECT set_config('app.ctx', $1, true)", context.expose_secret()).fetch_one(&mut *tx).await?;
        Ok(ScopedRead { tx, tenant: tenant.clone() })
    }
}

/// One tenant in scope, nobody authorized yet.
#[derive(Debug)]
pub struct ScopedRead {
    tx: PgTransaction<'static>,
    tenant: TenantId,
}

impl ScopedRead {
    /// Lets a principal read with the role it has now, or says why not. What is read afterwards is of the same moment
    /// as what was decided on: on a replica that is behind, both are.
    ///
    /// # Errors
    /// The server is away, or a statement failed.
    pub async fn authorize(
        mut self,
        request: ReadRequest<'_>,
        roles: &RoleTable,
    ) -> Result<Result<ReadTx, Refusal>, DbFault> {
        let present = Present::read(&mut self.tx, request.principal).await?;
        let present = present.ok_or(Refusal::Denied(ROLE_TABLE));
        if let Err(refusal) = present.and_then(|present| decide(&request, &present, roles)) {
            self.tx.rollback().await?;
            return Ok(Err(refusal));
        }
        Ok(Ok(ReadTx { scope: self }))
    }
}

/// One tenant's rows for somebody who may read them.
#[derive(Debug)]
pub struct ReadTx {
    scope: ScopedRead,
}

impl ReadTx {
    /// An executor. Row-level security shows it this tenant's rows and no others.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.scope.tx
    }

    /// The tenant in scope.
    pub fn tenant(&self) -> &TenantId {
        &self.scope.tenant
    }

    /// Ends the transaction, and the scope with it. Dropped, it ends too, a little later.
    ///
    /// # Errors
    /// The server is away.
    pub async fn end(self) -> Result<(), DbFault> {
        Ok(self.scope.tx.rollback().await?)
    }
}

fn decide(request: &ReadRequest<'_>, present: &Present, roles: &RoleTable) -> Result<(), Refusal> {
    let principal = request.principal;
    if !principal.kind.sends_commands() {
        return Err(Refusal::Denied("callers"));
    }
    let role = present.role(principal, Some(request.token_iat))?;
    if request.permission.is_some_and(|asked| !both_permit(role, principal.role, asked, roles)) {
        return Err(Refusal::Denied(ROLE_TABLE));
    }
    let standing = if present.standing == READ_ONLY { "good" } else { present.standing.as_str() };
    standing_allows(request.gate, standing)
}
