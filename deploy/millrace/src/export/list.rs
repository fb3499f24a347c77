//! `millrace export list`

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId, Timestamp};
use serde_json::{Map, json};

use super::EXPORT;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The tenant.
    org_id: String,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl List {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = TenantId::parse(&self.org_id).map_err(|fault| Usage(fault.to_string()))?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let exports = sqlx::query!(
            "SELECT id, scope, state, place, row_count, byte_count, requested_at, expires_at FROM app.exports
             WHERE org_id = $1 ORDER BY requested_at DESC",
            org.as_str()
        )
        .fetch_all(act.conn())
        .await?;
        let metadata = Map::from_iter([("shown".to_owned(), exports.len().into())]);
        act.commit(&org, "export.list", (EXPORT, "-"), metadata).await?;
        for export in exports {
            let requested = Timestamp::new(export.requested_at).to_string();
            let text = format!(
                "{}  {}  {:<7}  {requested}  {} rows, {} bytes",
                export.id, export.scope, export.state, export.row_count, export.byte_count
            );
            let facts = json!({
                "export_id": export.id, "scope": export.scope, "state": export.state, "table": export.place,
                "rows": export.row_count, "bytes": export.byte_count, "requested_at": requested,
                "expires_at": Timestamp::new(export.expires_at).to_string(),
            });
            screen.row(&text, &facts);
        }
        Ok(())
    }
}
