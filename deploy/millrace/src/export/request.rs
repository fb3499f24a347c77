//! `millrace export request`

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::payloads::{ComplianceExpireExport, ComplianceExportPage};
use millrace::contract::{Contract, Payload, TenantId};
use millrace::exports::KEPT;
use serde_json::{Map, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::EXPORT;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace export request org_2abC --person user_1\n\
    A worker for compliance makes it; millrace export list shows how far it is, millrace export fetch writes the archive. \
    Members ask by POST /api/compliance/export, once a day; those of a closed tenant cannot, and turn to you.";

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// The tenant.
    org_id: String,
    /// One person of it, by its id with the identity provider [default: everything of the tenant]
    #[arg(long, value_name = "USER")]
    person: Option<String>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Request {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = TenantId::parse(&self.org_id).map_err(|fault| Usage(fault.to_string()))?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let known = sqlx::query_scalar!("SELECT state FROM app.tenants WHERE org_id = $1 FOR SHARE", org.as_str())
            .fetch_optional(act.conn())
            .await?;
        if known.is_none() {
            return Err(Usage(format!("there is no tenant {org}: millrace tenants list shows those there are")).into());
        }
        let (id, now) = (Uuid::now_v7(), OffsetDateTime::now_utc());
        let scope = if self.person.is_some() { "subject" } else { "org" };
        sqlx::query!(
            "INSERT INTO app.exports (org_id, id, scope, subject, requested_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
            org.as_str(),
            id,
            scope,
            self.person.as_deref(),
            now,
            now + KEPT,
        )
        .execute(act.conn())
        .await?;
        let page = serde_json::to_vec(&ComplianceExportPage { export_id: id, page: 0 })?;
        let expire = serde_json::to_vec(&ComplianceExpireExport { export_id: id })?;
        for (name, body, at) in
            [(ComplianceExportPage::NAME, page, now), (ComplianceExpireExport::NAME, expire, now + KEPT)]
        {
            sqlx::query!(
                "INSERT INTO engine.due (org_id, message_type, subject, id, schema_version, body, cause, due_at)
                 VALUES ($1, $2, $3::uuid::text, gen_random_uuid(), 1, $4, $3::uuid::text, $5)",
                org.as_str(),
                name,
                id,
                body,
                at,
            )
            .execute(act.conn())
            .await?;
        }
        let metadata = Map::from_iter([("scope".to_owned(), scope.into())]);
        act.commit(&org, "export.request", (EXPORT, &id.to_string()), metadata).await?;
        let text = format!("export {id} of {org} is begun: millrace export list {org} shows how far it is");
        screen.done(&text, json!({ "org_id": org.as_str(), "export_id": id, "scope": scope }));
        Ok(())
    }
}
