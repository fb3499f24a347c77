//! Prune: what became of a command outlives its claim in the inbox, and is then deleted, a slice at a time.

use crate::db::{DbFault, RelayPool};
use crate::telemetry::fields;

/// Most rows of one transaction.
const SLICE: i64 = 1_000;
/// Most slices of one call, so that a sweep never waits long for them.
const SLICES: usize = 10;

/// Deletes operations that were settled more than 74 days ago; `engine.prune_operations` knows no younger ones.
///
/// # Errors
/// The server is away, or rows are held: the next call tries again.
pub(super) async fn operations(pool: &RelayPool) -> Result<(), DbFault> {
    for _ in 0..SLICES {
        let mut tx = pool.begin().await?;
        let pruned = sqlx::query_scalar!(r#"SELECT engine.prune_operations($1) AS "pruned!""#, SLICE)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        metrics::counter!(fields::OPERATIONS_PRUNED).increment(pruned.unsigned_abs());
        if pruned < SLICE {
            break;
        }
    }
    Ok(())
}
