//! A worker process: boots, connects, runs its lanes until it is drained.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millrace::amqp::{Dialer, Publisher};
use millrace::config::{Config, Process, StartFault};
use millrace::contract::{BrokerUser, Contract, WorkerName};
use millrace::db::{AppPool, ContextKey, DbFault, RelayPool};
use millrace::lifecycle::{Booted, ProcessFault, ReadyCheck, announce, run_process, serve_admin};
use millrace::pipeline::{Handlers, Lanes, Outbox, Road, Suspects};

const ABOUT: &str = "Settles messages: opens seals, resolves tenants, applies each effect once, in one transaction with \
    its audit event";

/// Bound of a publish of an outbox row; what takes longer is the relay's.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a drain waits for the last outbox rows to be confirmed.
const OUTBOX_GRACE: Duration = Duration::from_secs(1);

/// A part that reading the configuration should have made sure of.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not configured for this process")]
struct NotConfigured(&'static str);

/// Runs the worker `name` of the contract with its handlers until it is drained.
pub fn run(contract: Contract, name: &str, handlers: Handlers) -> ExitCode {
    run_configured(contract, name, |_| Ok(handlers))
}

/// The same, with handlers that are made of the configuration.
pub(crate) fn run_configured(
    contract: Contract,
    name: &str,
    handlers: impl FnOnce(&Config) -> Result<Handlers, CannotMake> + Send,
) -> ExitCode {
    let name = name.to_owned();
    run_process("millrace-worker", ABOUT, contract, Process::Worker, |booted| work(booted, name, handlers))
}

/// Why a handler cannot be made.
pub(crate) type CannotMake = Box<dyn std::error::Error + Send + Sync>;

async fn work(
    booted: Booted,
    name: String,
    handlers: impl FnOnce(&Config) -> Result<Handlers, CannotMake> + Send,
) -> Result<(), ProcessFault> {
    let Booted { contract, mut config, drain, metrics } = booted;
    let handlers = handlers(&config)?;
    let worker = WorkerName::parse(&name).map_err(|fault| StartFault::Handlers(vec![fault.to_string()]))?;
    let mistakes = handlers.mistakes(&contract, &worker);
    if !mistakes.is_empty() {
        return Err(StartFault::Handlers(mistakes).into());
    }
    let missing = NotConfigured;
    let signer = config.publishers.signer("worker").ok_or(missing("publishers"))?;
    let event_key = config.compliance.event_id_key.take().ok_or(missing("compliance.event_id_key"))?;
    let context = config.database.context_key.as_ref().map(ContextKey::new).ok_or(missing("database.context_key"))?;
    let pool = AppPool::new(&config.database)?;
    let relay_pool = RelayPool::new(&config.database, 1)?;
    // An absent server is waited for; a role above row-level security is not.
    if let Err(fault @ DbFault::Role(_)) = pool.check().await {
        return Err(fault.into());
    }

    let label = format!("millrace-{worker}");
    let dialer = Dialer::new(&config.amqp, BrokerUser::Worker, &label)?;
    let publisher = Publisher::start(dialer.clone(), PUBLISH_TIMEOUT);
    let (outbox, publishing) = Outbox::start(publisher, relay_pool);
    let road = Road {
        worker,
        contract,
        keyring: config.publishers.keyring().clone(),
        signer,
        event_key,
        handlers,
        pool: pool.clone(),
        context,
        retry: config.billing.retry,
        suspects: Suspects::default(),
    };
    let lanes = Lanes::new(road, dialer, outbox);
    let ready = readiness(&lanes, pool.clone());
    let admin =
        serve_admin(config.http.admin_listen, metrics, &config.observability.metrics_endpoint, ready, drain.clone())
            .await?;
    announce(None, admin);
    tracing::info!(admin = %admin, connection = label, "worker runs");
    let ended = lanes.run(&drain).await;
    let _ = tokio::time::timeout(OUTBOX_GRACE, publishing).await;
    Ok(ended?)
}

/// Ready: every lane consumes, and the database gives a connection whose role is acceptable.
fn readiness(lanes: &Lanes, pool: AppPool) -> ReadyCheck {
    let consuming = lanes.consuming();
    Arc::new(move || {
        let (consuming, pool) = (consuming.load(Ordering::Relaxed), pool.clone());
        Box::pin(async move {
            if !consuming {
                return Err("broker".to_owned());
            }
            pool.check().await.map_err(|_| "database".to_owned())
        })
    })
}
