//! A dead letter as it is chosen and shown: without its body, which never leaves the server but on request.

use millrace::contract::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::filters::Chosen;

/// Of the message's fields only those that decide where it may go.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) id: Uuid,
    pub(super) org_id: String,
    pub(super) publisher: Option<String>,
    pub(super) message_id: Option<String>,
    /// As sealed; `None` where nobody known sealed it.
    pub(super) message_type: Option<String>,
    pub(super) queue: String,
    pub(super) reason: String,
    pub(super) attempts: i32,
    pub(super) redrives: i32,
    pub(super) created_at: OffsetDateTime,
    pub(super) state: String,
    pub(super) marked_at: Option<OffsetDateTime>,
    pub(super) marked_by: Option<String>,
    /// As it arrived, sealed or not.
    pub(super) wire_type: Option<String>,
    pub(super) issued_at: Option<String>,
}

impl Letter {
    /// A page of letters in one state.
    pub(super) async fn newest_first(
        connection: &mut PgConnection,
        chosen: &Chosen<'_>,
        state: &str,
        after: Option<Uuid>,
        most: i64,
    ) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            "SELECT id, org_id, publisher, message_id, message_type, queue, reason, attempts, redrives, created_at,
               state, marked_at, marked_by, fields->>'type' AS wire_type, fields->>'issued_at' AS issued_at
             FROM engine.dead_letters
             WHERE state = $1 AND ($2::uuid IS NULL OR id < $2)
               AND created_at <= $3 AND ($4::timestamptz IS NULL OR created_at >= $4)
               AND ($5::text IS NULL OR org_id = $5) AND ($6::text IS NULL OR message_type = $6)
               AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR queue = $8)
             ORDER BY id DESC LIMIT $9",
            state,
            after,
            chosen.until,
            chosen.since,
            chosen.tenant(),
            chosen.message_type(),
            chosen.reason(),
            chosen.queue(),
            most,
        )
        .fetch_all(connection)
        .await
    }

    /// A page of open letters, locked: what another operator holds is waited for, and left out if it is marked then.
    pub(super) async fn oldest_open(
        connection: &mut PgConnection,
        chosen: &Chosen<'_>,
        after: Option<Uuid>,
        most: i64,
    ) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            "SELECT id, org_id, publisher, message_id, message_type, queue, reason, attempts, redrives, created_at,
               state, marked_at, marked_by, fields->>'type' AS wire_type, fields->>'issued_at' AS issued_at
             FROM engine.dead_letters
             WHERE state = 'open' AND ($1::uuid IS NULL OR id > $1)
               AND created_at <= $2 AND ($3::timestamptz IS NULL OR created_at >= $3)
               AND ($4::text IS NULL OR org_id = $4) AND ($5::text IS NULL OR message_type = $5)
               AND ($6::text IS NULL OR reason = $6) AND ($7::text IS NULL OR queue = $7)
             ORDER BY id LIMIT $8 FOR UPDATE",
            after,
            chosen.until,
            chosen.since,
            chosen.tenant(),
            chosen.message_type(),
            chosen.reason(),
            chosen.queue(),
            most,
        )
        .fetch_all(connection)
        .await
    }

    /// How many open letters are chosen.
    pub(super) async fn count_open(connection: &mut PgConnection, chosen: &Chosen<'_>) -> sqlx::Result<i64> {
        sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM engine.dead_letters
               WHERE state = 'open' AND created_at <= $1 AND ($2::timestamptz IS NULL OR created_at >= $2)
                 AND ($3::text IS NULL OR org_id = $3) AND ($4::text IS NULL OR message_type = $4)
                 AND ($5::text IS NULL OR reason = $5) AND ($6::text IS NULL OR queue = $6)"#,
            chosen.until,
            chosen.since,
            chosen.tenant(),
            chosen.message_type(),
            chosen.reason(),
            chosen.queue(),
        )
        .fetch_one(connection)
        .await
    }

    /// Letters by id in any state, locked.
    pub(super) async fn by_ids(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            "SELECT id, org_id, publisher, message_id, message_type, queue, reason, attempts, redrives, created_at,
               state, marked_at, marked_by, fields->>'type' AS wire_type, fields->>'issued_at' AS issued_at
             FROM engine.dead_letters WHERE id = ANY($1) ORDER BY id FOR UPDATE",
            ids,
        )
        .fetch_all(connection)
        .await
    }

    /// The type, or a dash.
    pub(super) fn type_text(&self) -> &str {
        self.message_type.as_deref().unwrap_or("-")
    }

    /// What programs read.
    pub(super) fn facts(&self) -> Value {
        json!({ "id": self.id, "org_id": self.org_id, "state": self.state, "reason": self.reason,
                "attempts": self.attempts, "redrives": self.redrives, "queue": self.queue,
                "publisher": self.publisher, "message_id": self.message_id, "message_type": self.message_type,
                "created_at": moment(self.created_at), "marked_at": self.marked_at.map(moment),
                "marked_by": self.marked_by })
    }
}

/// A moment as everything else of Millrace writes it.
pub(super) fn moment(moment: OffsetDateTime) -> String {
    Timestamp::new(moment).to_string()
}
