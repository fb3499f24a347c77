//! The audit worker process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace::amqp::Dialer;
use millrace::auditlog::{AuditLog, Sealed, Settings};
use millrace::config::{Config, DatabaseUser, Environment, Process};
use millrace::contract::{BrokerUser, Contract};
use millrace::db::IndexerPool;
use millrace::lifecycle::{Booted, Drain, ProcessFault, ReadyCheck, announce, run_process, serve_admin};
use millrace::pipeline::AuditIndexer;
use millrace::telemetry::{chain, fields};
use tokio::sync::watch;

use crate::audit::{self, Copier, Writer};

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
    let compliance = &config.compliance;
    let Some(key) = compliance.audit_log_key.clone() else { return Err("no key signs the audit log".into()) };
    let settings =
        Settings::new(compliance.audit_log_name.clone(), key, compliance.audit_segment_bytes, compliance.retention);
    let Some(log) = audit::open(&compliance.audit_log_path, &settings, &drain).await? else { return Ok(()) };
    let sealed = log.sealed();
    let copying = copier(&config, &log).map(|copier| tokio::spawn(copier.follow(drain.clone())));
    index(&config, &drain);
    let mut writer = Writer::new(log);
    let consumed = tokio::select! {
        consumed = audit::consume(&mut writer, config.publishers.keyring(), &dialer, &drain, &writing) => consumed,
        // Closing says why.
        () = ended(sealed) => Ok(()),
    };
    // Also after an error, which is the one to report: the lock is free when the last checkpoint is written.
    let closed = writer.close().await;
    if let (Err(_), Err(fault)) = (&consumed, &closed) {
        tracing::error!(error = chain(fault), "the audit log was not closed with a checkpoint");
    }
    consumed?;
    closed?;
    if let Some(copying) = copying {
        drain.begin();
        copying.await?.farewell().await;
    }
    Ok(())
}

/// Follows the log beside the writer, if `[database.logins.indexer]` is configured. Nothing of it reaches the writer.
fn index(config: &Config, drain: &Drain) {
    if !config.database.logins.contains_key(&DatabaseUser::Indexer) {
        return;
    }
    let (folder, days) = (config.compliance.audit_log_path.clone(), config.compliance.audit_index_days);
    match IndexerPool::new(&config.database) {
        Ok(pool) => {
            let (indexer, drain) = (AuditIndexer::new(pool, folder, days), drain.clone());
            tokio::spawn(async move { indexer.run(&drain).await });
        }
        Err(fault) => tracing::error!(error = chain(&fault), "the audit log is not indexed"),
    }
}

/// Resolves when the thread that signs checkpoints has ended.
async fn ended(mut sealed: watch::Receiver<Option<Sealed>>) {
    while sealed.changed().await.is_ok() {}
}

/// Whoever copies checkpoints off this host. Production without one is told so, loudly.
fn copier(config: &Config, log: &AuditLog) -> Option<Copier> {
    let target = config.compliance.checkpoint_copy.clone();
    metrics::gauge!(fields::AUDIT_COPY_CONFIGURED).set(if target.is_some() { 1.0 } else { 0.0 });
    if target.is_none() && config.observability.environment == Environment::Production {
        tracing::error!(
            "checkpoints are not copied off this host: whoever owns it can rewrite the log unseen; set \
             compliance.checkpoint_copy"
        );
    }
    target.map(|target| Copier::new(target, log.sealed()))
}

fn readiness(writing: Arc<AtomicBool>) -> ReadyCheck {
    Arc::new(move || {
        let writing = writing.load(Ordering::Relaxed);
        Box::pin(async move { if writing { Ok(()) } else { Err("audit queue or log lock".to_owned()) } })
    })
}
