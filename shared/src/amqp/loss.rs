//! The end of a connection, seen from everything that waits on it.
//!
//! lapin does not settle every promise of a connection that dies while a request is on its way, so whoever waits for an
//! answer also waits for the loss.

use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio_util::sync::CancellationToken;

use super::connect::{AmqpFault, at};

/// Known to everything that waits on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Loss {
    lost: CancellationToken,
    reason: Arc<OnceLock<lapin::Error>>,
}

impl Loss {
    /// Watches a connection until it ends.
    pub(super) fn of(connection: &Connection) -> Self {
        let loss = Self::default();
        let mut events = Box::pin(connection.events_listener());
        let watching = loss.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Error(error) = event {
                    let _ = watching.reason.set(error);
                    break;
                }
            }
            watching.lost.cancel();
        });
        loss
    }

    /// Waits for an answer of the broker, or for the loss of the connection.
    pub(super) async fn or<T>(
        &self,
        step: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, AmqpFault> {
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| self.explain(step, error)),
            () = self.lost.cancelled() => Err(self.fault(step)),
        }
    }

    /// Resolves with the loss.
    pub(super) async fn happened(&self, step: &'static str) -> AmqpFault {
        self.lost.cancelled().await;
        self.fault(step)
    }

    /// A later error often says no more than that the channel is gone; the connection's own says why.
    fn explain(&self, step: &'static str, error: lapin::Error) -> AmqpFault {
        at(step)(self.reason.get().cloned().unwrap_or(error))
    }

    fn fault(&self, step: &'static str) -> AmqpFault {
        self.reason.get().cloned().map_or(AmqpFault::Stale, at(step))
    }
}
