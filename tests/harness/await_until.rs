//! Conditions are awaited, never slept for.

use std::time::{Duration, Instant};

/// Longest wait for any condition: far beyond what it takes, so that a slow machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until `look` gives a value.
///
/// # Panics
/// When `what` has not come true in two minutes.
pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(what: &str, mut look: F) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "still not true after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
