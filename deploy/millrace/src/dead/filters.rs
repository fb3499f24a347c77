//! Which letters a command is about.

use clap::Args;
use millrace::contract::{MessageType, TenantId};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::age::Age;

/// Longest reason or queue name that is taken.
const LONGEST_NAME: usize = 64;

/// Each narrows the choice; none of them names a person, so the audit line can repeat them.
#[derive(Debug, Default, Args)]
pub(super) struct Filters {
    /// Only letters of this tenant; millrace:operator is the deployment itself.
    #[arg(long, value_name = "ORG_ID")]
    pub(super) tenant: Option<TenantId>,
    /// Only messages of this type, such as projects.create.
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) message_type: Option<MessageType>,
    /// Only letters that died of this, such as malformed.
    #[arg(long, value_name = "CODE", value_parser = name)]
    pub(super) reason: Option<String>,
    /// Only letters from this queue, such as work.billing.main.
    #[arg(long, value_name = "QUEUE", value_parser = name)]
    pub(super) queue: Option<String>,
    /// Only letters older than 30m, 2h or 7d.
    #[arg(long, value_name = "AGE")]
    pub(super) older_than: Option<Age>,
    /// Only letters younger than 30m, 2h or 7d.
    #[arg(long, value_name = "AGE")]
    pub(super) newer_than: Option<Age>,
}

impl Filters {
    /// Nothing is narrowed.
    pub(super) fn is_empty(&self) -> bool {
        self.facts().is_empty()
    }

    /// What the audit line says of the choice.
    pub(super) fn facts(&self) -> Map<String, Value> {
        let texts = [
            ("tenant", self.tenant.as_ref().map(ToString::to_string)),
            ("type", self.message_type.as_ref().map(ToString::to_string)),
            ("reason", self.reason.clone()),
            ("queue", self.queue.clone()),
            ("older_than", self.older_than.map(|age| age.to_string())),
            ("newer_than", self.newer_than.map(|age| age.to_string())),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))).collect()
    }

    /// Fixes the choice at this moment by the server's clock, which dates the letters.
    pub(super) async fn fixed(&self, connection: &mut PgConnection) -> sqlx::Result<Chosen<'_>> {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(connection).await?;
        Ok(Chosen {
            filters: self,
            until: self.older_than.map_or(now, |age| age.before(now)),
            since: self.newer_than.map(|age| age.before(now)),
        })
    }
}

/// Filters with their moments. A message that dies again while a redrive runs is younger than all of them, so no run
/// goes in circles.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) filters: &'a Filters,
    pub(super) until: OffsetDateTime,
    pub(super) since: Option<OffsetDateTime>,
}

impl Chosen<'_> {
    pub(super) fn tenant(&self) -> Option<&str> {
        self.filters.tenant.as_ref().map(TenantId::as_str)
    }

    pub(super) fn message_type(&self) -> Option<&str> {
        self.filters.message_type.as_ref().map(MessageType::as_str)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.filters.reason.as_deref()
    }

    pub(super) fn queue(&self) -> Option<&str> {
        self.filters.queue.as_deref()
    }
}

/// A reason or the name of a queue.
fn name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("1 to {LONGEST_NAME} characters of [a-z0-9_.-]"))
    }
}
