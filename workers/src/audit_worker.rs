//! The audit worker process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace::amqp::Dialer;
use millrace::config::{Config, DatabaseUser, Process};
use millrace::contract::{BrokerUser, Contract};
use millrace::db::IndexerPool;
use millrace::lifecycle::{Booted, Drain, ProcessFault, ReadyCheck, announce, run_process, serve_admin};
use millrace::pipeline::AuditIndexer;

use crate::audit::{self, Writer};

const ABOUT: &str = "Appends sealed audit events to the audit log, one line each, durable before they are acked";

/// Runs the audit worker until it is drained. A second one waits for the log's lock.
pub fn run_audit(contract: Contract) -> ExitCode {
    run_process("millrace-audit", ABOUT, contract, Process::Audit, work)
}

async fn work(booted: Booted) -> Result<(), ProcessFault> {
    let Booted { config, drain, metrics, .. } = booted;
    let writing = Arc::new(AtomicBool::new(false));
    let ready = readiness(Arc::clone(&writing));
    let path = &config.observability.metrics_endpoint;
    let admin = serve_admin(config.http.admin_listen, metrics, path, ready, drain.clone()).await?;
    announce(None, admin);
    tracing::info!(admin = %admin, log = %config.compliance.audit_log_path.display(), "audit worker runs");
    let dialer = Dialer::new(&config.amqp, BrokerUser::Audit, "millrace-audit")?;
    let Some(log) = audit::open(&config.compliance.audit_log_path, &drain).await? else { return Ok(()) };
    let indexing = index(&config, &drain)?;
    let mut writer = Writer::new(log);
    let consumed = audit::consume(&mut writer, config.publishers.keyring(), &dialer, &drain, &writing).await;
    if let Some(indexing) = indexing {
        indexing.abort();
    }
    Ok(consumed?)
}

/// Follows the log beside the writer, if `[database.logins.indexer]` is configured. Nothing of it reaches the writer.
fn index(config: &Config, drain: &Drain) -> Result<Option<tokio::task::JoinHandle<()>>, ProcessFault> {
    if !config.database.logins.contains_key(&DatabaseUser::Indexer) {
        return Ok(None);
    }
    let (folder, days) = (config.compliance.audit_log_path.clone(), config.compliance.audit_index_days);
    let indexer = AuditIndexer::new(IndexerPool::new(&config.database)?, folder, days);
    let drain = drain.clone();
    Ok(Some(tokio::spawn(async move { indexer.run(&drain).await })))
}

fn readiness(writing: Arc<AtomicBool>) -> ReadyCheck {
    Arc::new(move || {
        let writing = writing.load(Ordering::Relaxed);
        Box::pin(async move { if writing { Ok(()) } else { Err("audit queue or log lock".to_owned()) } })
    })
}
