//! Pseudonyms of the users that a batch's audit lines name, learned on the way through its tenants.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{BatchTx, DbFault, ScopedTx};
use crate::contract::{ActorKind, Principal, TenantId};

/// Stands for a user whose mapping was erased.
const ERASED: &str = "erased";
/// Stands for a user whom no tenant vouches for, since the message lies outside its publisher's grant.
const UNVERIFIED: &str = "unverified";

/// What was learned on the way.
#[derive(Debug, Default)]
pub(super) struct Pseudonyms {
    /// Users by tenant; `None` for who was erased.
    users: BTreeMap<(TenantId, String), Option<Uuid>>,
    /// Tenants that were in scope; true for those that were erased.
    tenants: BTreeMap<TenantId, bool>,
}

impl Pseudonyms {
    pub(super) fn learn(&mut self, tenant: &TenantId, user: &str, pseudonym: Option<Uuid>) {
        self.users.insert((tenant.clone(), user.to_owned()), pseudonym);
    }

    pub(super) fn learn_tenant(&mut self, tenant: &TenantId, erased: bool) {
        self.tenants.insert(tenant.clone(), erased);
    }

    fn get(&self, tenant: &TenantId, user: &str) -> Option<Option<Uuid>> {
        self.users.get(&(tenant.clone(), user.to_owned())).copied()
    }

    fn knows(&self, tenant: &TenantId, user: Option<&str>) -> bool {
        user.map_or_else(|| self.tenants.contains_key(tenant), |user| self.get(tenant, user).is_some())
    }
}

impl BatchTx {
    /// Learns the pseudonyms of users that nobody has asked about on the way: of what was decided before its tenant was in
    /// scope, and of people whom handlers name. Nothing is asked when all are known, and nothing of the operator's tenant,
    /// which has no users.
    pub(crate) async fn learn_pseudonyms(
        &mut self,
        wanted: impl IntoIterator<Item = (TenantId, String)>,
    ) -> Result<(), DbFault> {
        self.visit(wanted.into_iter().map(|(tenant, user)| (tenant, Some(user)))).await
    }

    /// Learns whether these tenants, and these users of them, were erased.
    pub(crate) async fn learn_erased(
        &mut self,
        wanted: impl IntoIterator<Item = (TenantId, Option<String>)>,
    ) -> Result<(), DbFault> {
        self.visit(wanted).await
    }

    /// Was the tenant erased, or this user of it? Of what was learned.
    pub(crate) fn is_erased(&self, tenant: &TenantId, user: Option<&str>) -> bool {
        let person = user.and_then(|user| self.pseudonyms.get(tenant, user));
        person == Some(None) || self.pseudonyms.tenants.get(tenant) == Some(&true)
    }

    async fn visit(&mut self, wanted: impl IntoIterator<Item = (TenantId, Option<String>)>) -> Result<(), DbFault> {
        let mut missing: BTreeMap<TenantId, BTreeSet<String>> = BTreeMap::new();
        for (tenant, user) in wanted {
            if !tenant.is_operator() && !self.pseudonyms.knows(&tenant, user.as_deref()) {
                missing.entry(tenant).or_default().extend(user);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut tenants = self.tenants();
        for (tenant, users) in missing {
            let users: Vec<String> = users.into_iter().collect();
            tenants.scope(&tenant, &users).await?;
        }
        tenants.leave().await
    }

    /// How an audit line of this tenant names a user.
    pub(crate) fn pseudonym(&self, tenant: &TenantId, user: &str) -> String {
        match self.pseudonyms.get(tenant, user) {
            Some(Some(pseudonym)) => pseudonym.to_string(),
            Some(None) => ERASED.to_owned(),
            None => UNVERIFIED.to_owned(),
        }
    }

    /// `actor_id` of an audit line: users by pseudonym, everybody else by the name that the configuration gives them.
    pub(crate) fn actor(&self, tenant: &TenantId, principal: &Principal) -> String {
        match principal.kind {
            ActorKind::User => format!("{}:{}", ActorKind::User.as_str(), self.pseudonym(tenant, &principal.id)),
            _ => principal.actor_id(),
        }
    }
}

impl ScopedTx<'_> {
    /// Makes pseudonyms for users that have none yet, all in one statement. Whoever gets none was erased.
    pub(super) async fn make_pseudonyms(&mut self, users: Vec<String>) -> Result<(), DbFault> {
        if users.is_empty() {
            return Ok(());
        }
        let rows =
            sqlx::query!(r#"SELECT user_id AS "user_id!", pseudonym AS "pseudonym!" FROM app.pseudonyms($1)"#, &users)
                .fetch_all(self.conn())
                .await?;
        let made: BTreeMap<String, Uuid> = rows.into_iter().map(|row| (row.user_id, row.pseudonym)).collect();
        for user in users {
            self.learn_pseudonym(&user, made.get(&user).copied());
        }
        Ok(())
    }
}
