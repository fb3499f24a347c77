//! Two-phase stop: soft finishes what is in flight, hard drops it and lets the broker redeliver.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Passed to whatever has to stop. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Drain {
    /// A drain that starts at the first SIGTERM or SIGINT and turns hard at the second.
    ///
    /// # Errors
    /// The process may not listen for signals.
    pub fn on_signals() -> std::io::Result<Self> {
        let drain = Self::default();
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let stop = drain.clone();
        tokio::spawn(async move {
            for begin in [Self::begin, Self::escalate] {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                begin(&stop);
            }
        });
        Ok(drain)
    }

    /// Takes no more work; what is in flight may end.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Ends at once.
    pub fn escalate(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Has the drain begun?
    pub fn begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when the drain begins.
    pub async fn started(&self) {
        self.soft.cancelled().await;
    }

    /// Resolves when a drain has gone on for `limit`, or turned hard: whatever still runs then is dropped.
    pub async fn expired(&self, limit: Duration) {
        self.started().await;
        tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = self.escalated() => {}
        }
    }

    /// Resolves when the drain turns hard.
    pub async fn escalated(&self) {
        self.hard.cancelled().await;
    }
}
