//! The HTTP edge of Millrace: verify, seal, publish, and answer 2xx only when the broker holds the message.
//!
//! It keeps no state and needs no database. Adopters call [`run`] with their own contract; tests start an [`Edge`]
//! inside their own process.

mod body;
mod enqueue;
mod response;
mod routes;
mod server;
mod socket;
pub mod webhooks;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use millrace::config::Process;
use millrace::contract::Contract;
use millrace::lifecycle::{Booted, ProcessFault, run_process, serve_admin};

pub use server::{Edge, EdgeFault, Listening};

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
    announce(listening.address(), admin);
    listening.serve(drain).await;
    Ok(())
}

/// One line on standard output for whoever started us with port 0, and one in the log.
fn announce(public: SocketAddr, admin: SocketAddr) {
    tracing::info!(http.listening = %public, http.admin = %admin, "listening");
    let mut out = std::io::stdout().lock();
    // Whoever closed our standard output does not want the line; that is no reason not to serve.
    let _ = writeln!(out, r#"{{"listening":"{public}","admin":"{admin}"}}"#).and_then(|()| out.flush());
}
