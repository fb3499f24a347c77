//! The log behind an async face: file work runs on a blocking thread.

use millrace::auditlog::{AuditLog, Entry, LogFault};
use millrace::lifecycle::Drain;
use millrace::retry::RetrySchedule;
use millrace::telemetry::{chain, fields};

/// Owns the open log.
pub(crate) struct Writer {
    log: Option<AuditLog>,
}

impl Writer {
    pub(crate) fn new(log: AuditLog) -> Self {
        Self { log: Some(log) }
    }

    /// Ends with a checkpoint of every line.
    pub(crate) async fn close(self) -> Result<(), LogFault> {
        let log = self.log.ok_or(LogFault::Died)?;
        tokio::task::spawn_blocking(move || log.close()).await.map_err(|_| LogFault::Died)?
    }

    /// Appends, waiting as long as the disk refuses lines, or what covers them.
    /// False when the drain began before it could be done.
    pub(super) async fn write(&mut self, entries: Vec<Entry>, drain: &Drain) -> Result<bool, LogFault> {
        let mut delays = RetrySchedule::connections().delays();
        let mut entries = entries;
        loop {
            let mut log = self.log.take().ok_or(LogFault::Died)?;
            let appending = tokio::task::spawn_blocking(move || {
                let appended = log.append(&entries);
                (log, entries, appended)
            });
            let (log, back, appended) = appending.await.map_err(|_| LogFault::Died)?;
            (self.log, entries) = (Some(log), back);
            match appended {
                Ok(written) => {
                    metrics::counter!(fields::AUDIT_LINES).increment(written as u64);
                    return Ok(true);
                }
                Err(fault @ (LogFault::Io { .. } | LogFault::Uncovered { .. })) => {
                    tracing::error!(error = chain(&fault), "the audit log waits");
                }
                Err(fault) => return Err(fault),
            }
            tokio::select! {
                () = tokio::time::sleep(delays.next_delay()) => {}
                () = drain.started() => return Ok(false),
            }
        }
    }
}
