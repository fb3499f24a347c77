//! `millrace audit reindex`

use clap::Args;
use millrace::config::{Config, DatabaseUser, Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::db::IndexerPool;
use millrace::pipeline::AuditIndexer;
use serde_json::{Map, json};

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::progress::Progress;
use crate::screen::Screen;

pub(super) const ABOUT: &str = "The log's files are never touched: the index holds fields and places, and is worth nothing \
    as evidence. Run it after the log was restored from a copy, or to index more days. Where [database.logins.indexer] and \
    the log's folder are at hand the command fills the index itself, together with the audit worker or without it; \
    elsewhere the audit worker does. While it is filled, GET /api/audit shows what is there already. Audited under your \
    name as audit.reindex.";

/// Fewer lines show no progress.
const SHORT: u64 = 10_000;

#[derive(Debug, Args)]
pub(crate) struct Reindex {
    /// Return at once and leave the filling to the audit worker.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Reindex {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        if config.compliance.audit_index_days.is_none() {
            return Err(Usage("the audit log is not indexed: compliance.audit_index_days is 0".to_owned()).into());
        }
        let mut act = self.operator.act(&contract, &config).await?;
        sqlx::query!("SELECT engine.reset_audit_index()").execute(act.conn()).await?;
        act.commit(&TenantId::operator(), "audit.reindex", ("audit_index", "*"), Map::new()).await?;
        screen.step("the index is empty");
        let here = config.database.logins.contains_key(&DatabaseUser::Indexer)
            && config.compliance.audit_log_path.join("seg").is_dir();
        if self.no_wait || !here {
            screen.done("the audit worker fills it again", json!({ "emptied": true, "lines": null }));
            return Ok(());
        }
        let lines = fill(&config).await?;
        screen.done(&format!("{lines} lines of the log are indexed again"), json!({ "emptied": true, "lines": lines }));
        Ok(())
    }
}

/// Indexes what was durable when it began.
async fn fill(config: &Config) -> Result<u64, CommandFault> {
    let pool = IndexerPool::new(&config.database)?;
    let compliance = &config.compliance;
    let mut indexer = AuditIndexer::new(pool, compliance.audit_log_path.clone(), compliance.audit_index_days);
    let first = indexer.step().await?;
    let mut progress = Progress::of(first.lines, "lines", SHORT);
    let mut indexed = first.indexed;
    while indexed < first.lines {
        progress.show(indexed);
        indexed = indexer.step().await?.indexed;
    }
    Ok(first.lines)
}
