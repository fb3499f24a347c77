//! When rows were committed, by PostgreSQL's own word, on the clock that this program reads as well.
//!
//! `track_commit_timestamp` is on in these servers, so nobody has to look at tables while something is measured. The time is
//! taken just before the commit record is flushed: for the end of the flush add the fsync latency.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgPool;

use super::percentiles::Sorted;

/// Tables whose rows show that a message was applied, and the column that says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Projects,
    History,
}

impl Applied {
    fn statement(self) -> &'static str {
        match self {
            Self::Projects => {
                "SELECT name, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM app.projects"
            }
            Self::History => {
                "SELECT event_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM app.billing_history"
            }
        }
    }

    fn count(self) -> &'static str {
        match self {
            Self::Projects => "SELECT count(*) FROM app.projects",
            Self::History => "SELECT count(*) FROM app.billing_history",
        }
    }

    /// Each message with its commit, in seconds since 1970.
    ///
    /// # Panics
    /// When a message was applied twice, or PostgreSQL has forgotten a commit.
    pub(crate) async fn times(self, pool: &PgPool) -> HashMap<String, f64> {
        let rows: Vec<(String, f64)> = sqlx::query_as(self.statement()).fetch_all(pool).await.expect("commit times");
        let count = rows.len();
        let times: HashMap<String, f64> = rows.into_iter().collect();
        assert_eq!(times.len(), count, "a message was applied twice");
        times
    }

    /// Applied messages a second, over the middle of them.
    pub(crate) async fn rate(self, pool: &PgPool) -> f64 {
        Sorted::new(self.times(pool).await.into_values().collect()).rate_of_the_middle()
    }

    /// Waits until so many messages are applied.
    ///
    /// # Panics
    /// When nothing moves any more.
    pub(crate) async fn wait(self, pool: &PgPool, wanted: usize) {
        /// Rarely, since each look costs the servers something.
        const LOOK: Duration = Duration::from_millis(250);
        const LOOKS_WITHOUT_PROGRESS: usize = 240;
        let (mut before, mut idle) = (0, 0);
        loop {
            let now: i64 = sqlx::query_scalar(self.count()).fetch_one(pool).await.expect("a count");
            if usize::try_from(now).unwrap_or(0) >= wanted {
                return;
            }
            idle = if now == before { idle + 1 } else { 0 };
            assert!(idle < LOOKS_WITHOUT_PROGRESS, "{now} of {wanted} messages are applied, and no more follow");
            before = now;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
