//! `millrace tenants create`

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::OperatorAct;
use serde_json::{Map, json};

use super::{TENANT, clean, plans, tenant, wake};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::OperatorName;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace tenants create org_2abC --name 'Acme Ltd' --plan pro";

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The tenant's id with your identity provider, such as org_2abC.
    org_id: String,
    /// Name for people [default: the id]
    #[arg(long)]
    name: Option<String>,
    /// One of the deployment's plans, such as pro [default: free]
    #[arg(long)]
    plan: Option<String>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Create {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = tenant(&self.org_id)?;
        if let Some(name) = &self.name {
            clean("--name", name)?;
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let act = self.operator.act(&contract, &config).await?;
        let name = self.name.as_deref().unwrap_or(org.as_str());
        let created = create(act, &org, name, self.plan.as_deref()).await?;
        let text = if created { format!("tenant {org} created") } else { format!("tenant {org} is there already") };
        screen.done(&text, json!({ "org_id": org.as_str(), "created": created }));
        Ok(())
    }
}

/// Makes a tenant; false when it is there already.
pub(crate) async fn create(
    mut act: OperatorAct,
    org: &TenantId,
    name: &str,
    plan: Option<&str>,
) -> Result<bool, CommandFault> {
    plans::check(act.conn(), plan).await?;
    let inserted = sqlx::query!(
        "INSERT INTO app.tenants (org_id, name, plan) VALUES ($1, $2, coalesce($3, 'free'))
         ON CONFLICT (org_id) DO NOTHING",
        org.as_str(),
        name,
        plan
    )
    .execute(act.conn())
    .await?;
    let created = inserted.rows_affected() == 1;
    if created {
        wake(act.conn(), "tenant_unknown").await?;
        act.commit(org, "tenants.create", (TENANT, org.as_str()), Map::new()).await?;
    }
    Ok(created)
}
