//! The database's side: settled messages, dead letters, and lines that are on their way. Rows come as a stream.

use futures_util::TryStreamExt;
use millrace::auditlog::StoredLine;
use millrace::contract::{AuditEventKey, Exchange};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::identity::{Line, judge, settlement};
use super::sorter::{Record, Side, Sorter};
use super::{SLACK, Tally};
use crate::CommandFault;

/// Messages that the inbox remembers since a moment.
pub(super) async fn messages(
    connection: &mut PgConnection,
    start: OffsetDateTime,
    sorter: &mut Sorter,
    tally: &mut Tally,
) -> Result<(), CommandFault> {
    let mut rows = sqlx::query!(
        r#"SELECT org_id AS "org_id!", publisher AS "publisher!", message_id AS "message_id!", claimed_at AS "claimed_at!"
           FROM engine.inbox WHERE claimed_at >= $1"#,
        start - SLACK
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        tally.messages += 1;
        let key = settlement(&row.org_id, &row.publisher, &row.message_id, None);
        let text = format!("{}\t{}\t{}\t", row.org_id, row.publisher, row.message_id);
        sorter.push(Record { key, side: Side::Message, due: row.claimed_at >= start, text })?;
    }
    Ok(())
}

/// Dead letters since a moment, whatever was made of them.
pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    start: OffsetDateTime,
    sorter: &mut Sorter,
    tally: &mut Tally,
) -> Result<(), CommandFault> {
    let mut rows = sqlx::query!(
        "SELECT org_id, publisher, message_id, identity, redrives, created_at FROM engine.dead_letters
         WHERE created_at >= $1",
        start - SLACK
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        tally.dead_letters += 1;
        // What nobody known sealed is called by the hash of all that arrived.
        let identity = hex::encode(&row.identity);
        let unknown = format!("unknown:{}", identity.get(..32).unwrap_or(&identity));
        let (publisher, message) = (row.publisher.unwrap_or(unknown), row.message_id.unwrap_or(identity));
        let key = settlement(&row.org_id, &publisher, &message, Some(row.redrives));
        let text = format!("{}\t{publisher}\t{message}\t{}", row.org_id, row.redrives);
        sorter.push(Record { key, side: Side::Message, due: row.created_at >= start, text })?;
    }
    Ok(())
}

/// Lines that nobody has published yet: what waits for the broker is not lost.
pub(super) async fn pending(
    connection: &mut PgConnection,
    events: &AuditEventKey,
    sorter: &mut Sorter,
    tally: &mut Tally,
) -> Result<(), CommandFault> {
    let mut rows = sqlx::query_scalar!("SELECT body FROM engine.outbox WHERE exchange = $1", Exchange::Audit.name())
        .fetch(connection);
    while let Some(body) = rows.try_next().await? {
        let Some(line) = StoredLine::rendered(&body) else { continue };
        if let Line::Settlement { key, .. } = judge(&line, events) {
            tally.in_flight += 1;
            sorter.push(Record { key, side: Side::Pending, due: false, text: String::new() })?;
        }
    }
    Ok(())
}
