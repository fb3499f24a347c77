//! The relay process.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use millrace::amqp::{Dialer, Publisher};
use millrace::config::Process;
use millrace::contract::{BrokerUser, Contract};
use millrace::db::RelayPool;
use millrace::lifecycle::{Booted, ProcessFault, ReadyCheck, announce, run_process, serve_admin};
use millrace::pipeline::Relay;

const ABOUT: &str = "Publishes parked messages when they are due, and outbox rows that a crash left behind";

/// Bound of one publish.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the relay until it is drained.
pub fn run_relay(contract: Contract) -> ExitCode {
    run_process("millrace-relay", ABOUT, contract, Process::Relay, work)
}

async fn work(booted: Booted) -> Result<(), ProcessFault> {
    let Booted { config, drain, metrics, .. } = booted;
    let dialer = Dialer::new(&config.amqp, BrokerUser::Relay, "millrace-relay")?;
    let relay =
        Relay { pool: RelayPool::new(&config.database, 2)?, publisher: Publisher::start(dialer, PUBLISH_TIMEOUT) };
    let path = &config.observability.metrics_endpoint;
    let admin = serve_admin(config.http.admin_listen, metrics, path, readiness(&relay), drain.clone()).await?;
    announce(None, admin);
    tracing::info!(admin = %admin, "relay runs");
    Ok(relay.run(&drain).await?)
}

fn readiness(relay: &Relay) -> ReadyCheck {
    let (pool, publisher) = (relay.pool.clone(), relay.publisher.clone());
    Arc::new(move || {
        let (pool, publisher) = (pool.clone(), publisher.clone());
        Box::pin(async move {
            publisher.probe().await.map_err(|fault| format!("broker: {fault}"))?;
            pool.check().await.map_err(|_| "database".to_owned())
        })
    })
}
