//! Logs and metrics. Log lines are an interface: dotted fields, units in names, never a body, a secret or
//! personal data.

pub mod fields;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::ObservabilityConfig;

/// lapin logs a returned message with its whole body, and frames at lower levels: neither may reach a log.
const SILENCED: [&str; 2] = ["lapin::returned_messages=off", "lapin=warn"];

/// Upper bounds in seconds for every `*_seconds` histogram.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryFault {
    /// A recorder is already installed in this process.
    #[error("cannot install the metrics recorder")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Sends logs to standard error as JSON lines and collects metrics.
///
/// # Errors
/// A second metrics recorder in one process.
pub fn start(config: &ObservabilityConfig) -> Result<PrometheusHandle, TelemetryFault> {
    let filter = SILENCED
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(EnvFilter::new(&config.log_level), EnvFilter::add_directive);
    // A second subscriber in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
    Ok(recorder.install_recorder()?)
}

/// An error with its causes, by their messages only: PostgreSQL's details and hints, which `Debug` would print, may hold
/// row values.
pub fn chain(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
