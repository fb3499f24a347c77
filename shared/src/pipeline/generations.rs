//! The inbox's generations: begins the next one when it is time, and empties the one that nobody asks any more.

use crate::db::{DbFault, RelayPool};

/// Does what is due, one step a call. Each is a transaction of its own, so that emptying a generation of any size holds up
/// no claim.
///
/// # Errors
/// The server is away, or claims in flight do not let the turn in at once: the next call tries again.
pub(super) async fn tend(pool: &RelayPool) -> Result<(), DbFault> {
    let mut tx = pool.begin().await?;
    let turned = sqlx::query_scalar!(r#"SELECT engine.turn_inbox() AS "turned!""#).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    if turned {
        tracing::info!("a new generation of the inbox has begun");
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    let cleared = sqlx::query_scalar!(r#"SELECT engine.clear_spare_inbox() AS "cleared!""#).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    if cleared {
        tracing::info!("the spare generation of the inbox is empty");
    }
    Ok(())
}
