//! `millrace tenants link`

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::OperatorAct;
use serde_json::{Map, Value, json};

use super::{clean, tenant, wake};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace tenants link org_2abC --customer cus_9s6XKzkNRiz8i3 --live";

#[derive(Debug, Args)]
pub(crate) struct Link {
    /// The tenant.
    org_id: String,
    /// The provider.
    #[arg(long, default_value = "stripe")]
    provider: String,
    /// The provider's customer id, such as cus_9s6XKzkNRiz8i3.
    #[arg(long, value_name = "ID")]
    customer: String,
    /// The provider's connected account (Stripe Connect), if the customer belongs to one.
    #[arg(long, value_name = "ID", default_value = "")]
    account: String,
    /// The customer is of live mode; without it, of test mode.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Link {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = tenant(&self.org_id)?;
        clean("--customer", &self.customer)?;
        clean("--provider", &self.provider)?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let act = self.operator.act(&contract, &config).await?;
        let customer = Customer {
            provider: self.provider.clone(),
            account: self.account.clone(),
            live: self.live,
            id: self.customer.clone(),
        };
        let released = customer.link(act, &org).await?;
        let facts = json!({ "org_id": org.as_str(), "customer": self.customer, "linked": released.is_some(),
                            "released": released.unwrap_or(0) });
        let text = match released {
            None => format!("{} is linked to {org} already", self.customer),
            Some(0) => format!("{} is {org} now", self.customer),
            Some(n) => format!("{} is {org} now; {n} waiting message(s) released", self.customer),
        };
        screen.done(&text, facts);
        Ok(())
    }
}

/// A customer in the provider's words.
#[derive(Debug)]
pub(crate) struct Customer {
    pub(crate) provider: String,
    pub(crate) account: String,
    pub(crate) live: bool,
    pub(crate) id: String,
}

impl Customer {
    /// Links the customer to a tenant; returns how many waiting messages that released, or `None` when it was linked
    /// to this tenant before.
    pub(crate) async fn link(&self, mut act: OperatorAct, org: &TenantId) -> Result<Option<u64>, CommandFault> {
        if !self.insert(act.conn(), org).await? {
            return Ok(None);
        }
        let released = wake(act.conn(), "tenant_unresolved").await?;
        act.commit(org, "tenants.link", ("provider_link", &self.id), self.facts()).await?;
        Ok(Some(released))
    }

    /// What the audit log says of the link beside the customer's id.
    pub(super) fn facts(&self) -> Map<String, Value> {
        [
            ("provider".to_owned(), self.provider.clone().into()),
            ("account".to_owned(), self.account.clone().into()),
            ("livemode".to_owned(), self.live.into()),
        ]
        .into_iter()
        .collect()
    }

    /// True when the link is new; an error when it belongs to another tenant, or the tenant is not there.
    async fn insert(&self, connection: &mut sqlx::PgConnection, org: &TenantId) -> Result<bool, CommandFault> {
        let inserted = sqlx::query!(
            "INSERT INTO engine.provider_links (provider, account, livemode, external_id, org_id)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            self.provider,
            self.account,
            self.live,
            self.id,
            org.as_str()
        )
        .execute(&mut *connection)
        .await;
        let inserted = match inserted {
            Ok(done) => done.rows_affected() == 1,
            Err(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => {
                return Err(Usage(format!("there is no tenant {org}: make it with millrace tenants create")).into());
            }
            Err(e) => return Err(e.into()),
        };
        if inserted {
            return Ok(true);
        }
        let holder = sqlx::query_scalar!(
            "SELECT org_id FROM engine.provider_links
             WHERE provider = $1 AND account = $2 AND livemode = $3 AND external_id = $4",
            self.provider,
            self.account,
            self.live,
            self.id
        )
        .fetch_one(connection)
        .await?;
        if holder == org.as_str() {
            return Ok(false);
        }
        Err(Usage(format!("{} is linked to another tenant; nothing was changed", self.id)).into())
    }
}
