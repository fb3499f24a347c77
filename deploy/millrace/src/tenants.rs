//! `millrace tenants`

use clap::{Args, Subcommand};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::OperatorAct;
use serde_json::{Map, Value, json};

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// Make a tenant; one that is there already stays as it is.
    Create(Create),
    /// Say which provider's customer a tenant is; messages that wait for it are released at once.
    Link(Link),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The tenant's id with your identity provider, such as org_2abC.
    org_id: String,
    /// Name for people [default: the id]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

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

impl Tenants {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Create(create) => create.run(contract, screen).await,
            Self::Link(link) => link.run(contract, screen).await,
        }
    }
}

fn tenant(text: &str) -> Result<TenantId, Usage> {
    let org = TenantId::parse(text).map_err(|fault| Usage(fault.to_string()))?;
    if org.is_operator() { Err(Usage(format!("{org} is reserved for the deployment itself"))) } else { Ok(org) }
}

/// Texts of a sane length that can be shown.
fn clean(flag: &str, text: &str) -> Result<(), Usage> {
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
        return Err(Usage(format!("{flag} must be 1 to 200 bytes without control characters")));
    }
    Ok(())
}

impl Create {
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = tenant(&self.org_id)?;
        if let Some(name) = &self.name {
            clean("--name", name)?;
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let act = self.operator.act(&contract, &config).await?;
        let created = create(act, &org, self.name.as_deref().unwrap_or(org.as_str())).await?;
        let text = if created { format!("tenant {org} created") } else { format!("tenant {org} is there already") };
        screen.done(&text, json!({ "org_id": org.as_str(), "created": created }));
        Ok(())
    }
}

/// Makes a tenant; false when it is there already.
pub(crate) async fn create(mut act: OperatorAct, org: &TenantId, name: &str) -> Result<bool, CommandFault> {
    let inserted = sqlx::query!(
        "INSERT INTO app.tenants (org_id, name) VALUES ($1, $2) ON CONFLICT (org_id) DO NOTHING",
        org.as_str(),
        name
    )
    .execute(act.conn())
    .await?;
    let created = inserted.rows_affected() == 1;
    if created {
        act.commit(org, "tenants.create", ("tenant", org.as_str()), Map::new()).await?;
    }
    Ok(created)
}

impl Link {
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
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
        let released = wake(act.conn()).await?;
        let metadata: Map<String, Value> = [
            ("provider".to_owned(), self.provider.clone().into()),
            ("account".to_owned(), self.account.clone().into()),
            ("livemode".to_owned(), self.live.into()),
        ]
        .into_iter()
        .collect();
        act.commit(org, "tenants.link", ("provider_link", &self.id), metadata).await?;
        Ok(Some(released))
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

/// Releases what waits for a link: those of other customers go on waiting, uncounted.
async fn wake(connection: &mut sqlx::PgConnection) -> sqlx::Result<u64> {
    let woken = sqlx::query!(
        "UPDATE engine.parked SET not_before = now() WHERE reason = 'tenant_unresolved' AND not_before > now()"
    )
    .execute(connection)
    .await?;
    Ok(woken.rows_affected())
}
