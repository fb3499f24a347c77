//! `millrace audit prune`

use clap::Args;
use millrace::auditlog::{PruneRecord, RETENTION_PRUNED, plan_prune};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId, Timestamp};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{LOG, folder};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace audit prune --dry-run\n\
    Run it where compliance.audit_log_path is. Your act becomes a line of the log, and the audit worker drops the files \
    when a signed checkpoint covers it. Tiles, checkpoints and the record stay, so the log still verifies.";

const SECONDS_A_DAY: u64 = 86_400;

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Keep more days than compliance.retention_days says.
    #[arg(long, value_name = "N")]
    days: Option<u64>,
    /// Show what would go, and ask for nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Prune {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let window = config.compliance.retention.as_secs() / SECONDS_A_DAY;
        let days = self.days.unwrap_or(window);
        if days < window {
            let advice = format!("compliance.retention_days is {window}: no line younger than that is dropped");
            return Err(Usage(advice).into());
        }
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let Some(record) = plan_prune(folder(&config)?, days, now)? else {
            screen.done(&format!("no closed segment is older than {days} days"), json!({ "segments": 0 }));
            return Ok(());
        };
        let (what, facts) = (describe(&record), json!(record));
        if self.dry_run {
            screen.done(&format!("would drop {what}"), facts);
            return Ok(());
        }
        let act = self.operator.act(&contract, &config).await?;
        let metadata: Map<String, Value> = facts.as_object().cloned().unwrap_or_default();
        let log = (LOG, config.compliance.audit_log_name.as_str());
        act.commit(&TenantId::operator(), RETENTION_PRUNED, log, metadata).await?;
        let then = "asked for; the audit worker drops them when a signed checkpoint covers the line that says so";
        screen.done(&format!("{what}: {then}"), facts);
        Ok(())
    }
}

fn describe(record: &PruneRecord) -> String {
    format!(
        "{} segments, lines {} to {}, all older than {} days",
        record.segments,
        record.from,
        record.to.saturating_sub(1),
        record.days
    )
}
