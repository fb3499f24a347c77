//! `[observability]`: how much is said, and where it is read.

use super::Reader;

/// Decides the default log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Warnings and worse.
    Production,
    /// Everything.
    Development,
}

/// Logs and metrics.
#[derive(Debug, Clone)]
pub struct ObservabilityConfig {
    /// Production or not.
    pub environment: Environment,
    /// A `tracing` filter; by default `warn` in production, else `debug`.
    pub log_level: String,
    /// Path of the Prometheus metrics on the admin listener.
    pub metrics_endpoint: String,
}

impl ObservabilityConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let environment = s.word(
            "environment",
            Environment::Production,
            &[("production", Environment::Production), ("development", Environment::Development)],
        );
        let level = match environment {
            Environment::Production => "warn",
            Environment::Development => "debug",
        };
        let metrics_endpoint = s.text("metrics_endpoint", Some("/api/health/metrics"));
        if !metrics_endpoint.starts_with('/') {
            s.mistake("metrics_endpoint", "must be a path that begins with /");
        }
        let log_level = s.text("log_level", Some(level));
        if tracing_subscriber::EnvFilter::try_new(&log_level).is_err() {
            s.mistake("log_level", "must be a filter such as info or millrace=debug,warn");
        }
        Self { environment, log_level, metrics_endpoint }
    }
}
