//! The audit worker: one writer that turns the audit queue into lines, durable before they are acked.

mod accept;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace::amqp::{AmqpFault, Dialer, Redelivered, Session};
use millrace::auditlog::{AuditLog, LogFault};
use millrace::config::Process;
use millrace::contract::{BrokerUser, Contract, Keyring, Topology};
use millrace::lifecycle::{Booted, Drain, ProcessFault, ReadyCheck, run_process, serve_admin};
use millrace::retry::RetrySchedule;

use writer::Writer;

const ABOUT: &str = "Appends sealed audit events to the audit log, one line each, durable before they are acked";

/// Most lines of one `fdatasync`.
const BATCH: usize = 512;
/// The batch in flight and the next.
const PREFETCH: u16 = 1_024;
/// How often a second writer looks whether the first is gone.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

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
    tracing::info!(admin = %admin, log = %config.compliance.audit_log_path.display(), "audit worker runs");
    let dialer = Dialer::new(&config.amqp, BrokerUser::Audit, "millrace-audit")?;
    let Some(log) = open(&config.compliance.audit_log_path, &drain).await? else { return Ok(()) };
    let mut writer = Writer::new(log);
    consume(&mut writer, config.publishers.keyring(), &dialer, &drain, &writing).await?;
    Ok(())
}

fn readiness(writing: Arc<AtomicBool>) -> ReadyCheck {
    Arc::new(move || {
        let writing = writing.load(Ordering::Relaxed);
        Box::pin(async move { if writing { Ok(()) } else { Err("audit queue or log lock".to_owned()) } })
    })
}

/// Opens the log, waiting while another process writes it; `None` when drained before that ends.
async fn open(folder: &std::path::Path, drain: &Drain) -> Result<Option<AuditLog>, LogFault> {
    let mut told = false;
    loop {
        match AuditLog::open(folder) {
            Err(LogFault::Locked(folder)) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(log = %folder.display(), "another process writes this log; waiting for it to end");
                }
            }
            opened => return opened.map(Some),
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_PAUSE) => {}
            () = drain.started() => return Ok(None),
        }
    }
}

/// Consumes until drained; the broker may go and come back.
async fn consume(
    writer: &mut Writer,
    keyring: &Keyring,
    dialer: &Dialer,
    drain: &Drain,
    writing: &AtomicBool,
) -> Result<(), LogFault> {
    let mut delays = RetrySchedule::connections().delays();
    while !drain.begun() {
        let ended = session(writer, keyring, dialer, drain, writing, &mut delays).await;
        writing.store(false, Ordering::Relaxed);
        match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Log(fault)) => return Err(fault),
            Err(Ended::Lost(fault)) => {
                tracing::warn!(error = %fault, cause = ?std::error::Error::source(&fault), "consuming stopped");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delays.next_delay()) => {}
            () = drain.started() => {}
        }
    }
    Ok(())
}

enum Ended {
    Lost(AmqpFault),
    Log(LogFault),
}

impl From<AmqpFault> for Ended {
    fn from(fault: AmqpFault) -> Self {
        Self::Lost(fault)
    }
}

async fn session(
    writer: &mut Writer,
    keyring: &Keyring,
    dialer: &Dialer,
    drain: &Drain,
    writing: &AtomicBool,
    delays: &mut millrace::retry::Delays,
) -> Result<(), Ended> {
    let session = Session::connect(dialer).await?;
    let mut subscription = session.subscribe(Topology::AUDIT_QUEUE, PREFETCH).await?;
    delays.reset();
    writing.store(true, Ordering::Relaxed);
    loop {
        let batch = tokio::select! {
            biased;
            () = drain.started() => break,
            batch = subscription.next_batch(BATCH, Redelivered::Together) => batch?,
        };
        let (entries, refused) = accept::accept(&batch.deliveries, keyring);
        if !writer.write(entries, drain).await.map_err(Ended::Log)? {
            break;
        }
        batch.ack_except(&refused).await?;
    }
    session.close().await;
    Ok(())
}
