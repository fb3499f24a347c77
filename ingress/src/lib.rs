//! The HTTP edge of Millrace: verify, seal, publish, and answer 2xx only when the broker holds the message.
//!
//! It keeps no state and needs no database. Adopters call [`run`] with their own contract; tests start an [`Edge`]
//! inside their own process.

pub mod authenticate;
mod body;
mod commands;
mod edge;
mod enqueue;
mod rates;
pub mod reads;
mod response;
mod routes;
mod server;
mod socket;
pub mod webhooks;

use std::process::ExitCode;

use millrace::config::Process;
use millrace::contract::Contract;
use millrace::lifecycle::{Booted, ProcessFault, announce, run_process, serve_admin};

pub use edge::{Edge, EdgeFault};
pub use server::Listening;

const ABOUT: &str =
    "Verifies webhooks, seals them and hands them to the broker; answers 200 after the broker's confirm";

/// The whole process: 0 after a drain, 64 for mistakes in contract or configuration, 70 when it cannot start or dies.
pub fn run(contract: Contract) -> ExitCode {
    run_process("millrace-ingress", ABOUT, contract, Process::Ingress, edge)
}

async fn edge(booted: Booted) -> Result<(), ProcessFault> {
    let Booted { contract, config, drain, metrics } = booted;
    let edge = Edge::new(&contract, &config)?;
    let metrics_path = &config.observability.metrics_endpoint;
    let admin = serve_admin(config.http.admin_listen, metrics, metrics_path, edge.ready_check(), drain.clone()).await?;
    let listening = edge.listen().await?;
    announce(Some(listening.address()), admin);
    tracing::info!(http.listening = %listening.address(), http.admin = %admin, "listening");
    listening.serve(drain).await;
    Ok(())
}
