//! `GET /api/audit`

use millrace::contract::Outcome;
use millrace::db::ReadTx;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::page::{Cursor, Page, parameters};
use super::{ReadFault, moment};

/// Longest text that is compared with: the index holds none that is longer.
const LONGEST: usize = 512;

/// Which lines are asked for. What is `None` narrows nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    page: Page,
    actor: Option<String>,
    action: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    outcome: Option<Outcome>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
}

impl Asked {
    /// Reads a query. Ids of users may be anything, so values may be percent-encoded; a plus sign is one.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ReadFault> {
        let [limit, after, actor, action, resource, outcome, from, to] =
            parameters(query, ["limit", "after", "actor", "action", "resource", "outcome", "from", "to"])?;
        let text = |value: Option<&str>| value.map(decoded).transpose();
        let time = |value: Option<&str>| {
            let value = text(value)?;
            value.map(|text| OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| ReadFault::Filter)).transpose()
        };
        let outcome = text(outcome)?;
        let outcome = outcome.map(|text| Outcome::parse(&text).ok_or(ReadFault::Filter)).transpose()?;
        let resource = text(resource)?;
        let (resource_type, resource_id) = match resource.as_deref().map(|text| text.split_once(':')) {
            None => (None, None),
            Some(None) => (resource, None),
            Some(Some((_, ""))) => return Err(ReadFault::Filter),
            Some(Some((kind, id))) => (Some(kind.to_owned()), Some(id.to_owned())),
        };
        Ok(Self {
            page: Page::of(limit, after)?,
            actor: text(actor)?,
            action: text(action)?,
            resource_type,
            resource_id,
            outcome,
            from: time(from)?,
            to: time(to)?,
        })
    }
}

/// A value as it is meant.
fn decoded(value: &str) -> Result<String, ReadFault> {
    let text = percent_decode_str(value).decode_utf8().map_err(|_| ReadFault::Filter)?;
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        return Err(ReadFault::Filter);
    }
    Ok(text.into_owned())
}

struct Line {
    timestamp: OffsetDateTime,
    tenant_seq: i64,
    event_id: Uuid,
    actor: String,
    action: String,
    resource_type: String,
    resource_id: String,
    outcome: String,
    code: Option<String>,
}

pub(super) async fn read(tx: &mut ReadTx, asked: &Asked) -> Result<Value, ReadFault> {
    let after = asked.page.id().map(|id| id.parse::<i64>().map_err(|_| ReadFault::Cursor)).transpose()?;
    let rows = sqlx::query_as!(
        Line,
        r#"SELECT timestamp AS "timestamp!", tenant_seq AS "tenant_seq!", event_id AS "event_id!", actor AS "actor!",
             action AS "action!", resource_type AS "resource_type!", resource_id AS "resource_id!", outcome AS "outcome!",
             code
           FROM app.audit_page($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        asked.actor,
        asked.action,
        asked.resource_type,
        asked.resource_id,
        asked.outcome.map(Outcome::as_str),
        asked.from,
        asked.to,
        asked.page.created_at(),
        after,
        asked.page.rows(),
    )
    .fetch_all(tx.conn())
    .await?;
    let place = |row: &Line| Cursor { created_at: row.timestamp, id: row.tenant_seq.to_string() };
    Ok(asked.page.answer(rows, place, shape))
}

/// Where the line stands in the files is the deployment's affair: it would tell how much others do.
fn shape(row: &Line) -> Value {
    json!({
        "timestamp": moment(row.timestamp),
        "tenant_seq": row.tenant_seq,
        "event_id": row.event_id.to_string(),
        "actor": row.actor,
        "action": row.action,
        "resource_type": row.resource_type,
        "resource_id": row.resource_id,
        "outcome": row.outcome,
        "code": row.code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_read_as_it_is_meant() {
        let query = "actor=user:auth0%7Ca+b&action=projects.create&resource=project:x:1&outcome=denied\
            &from=2026-01-02T03:04:05Z&to=2026-01-02T04:04:05%2B01:00&limit=7";
        let asked = Asked::parse(Some(query)).unwrap();
        assert_eq!(asked.actor.as_deref(), Some("user:auth0|a+b"));
        assert_eq!((asked.resource_type.as_deref(), asked.resource_id.as_deref()), (Some("project"), Some("x:1")));
        assert_eq!((asked.outcome, asked.page.rows()), (Some(Outcome::Denied), 8));
        assert_eq!(asked.from, asked.to);
        let kind = Asked::parse(Some("resource=project")).unwrap();
        assert_eq!((kind.resource_type.as_deref(), kind.resource_id), (Some("project"), None));
        assert_eq!(Asked::parse(None).unwrap(), Asked::default());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let long = format!("actor={}", "a".repeat(513));
        for (query, code) in [
            ("actor=", "invalid_filter"),
            ("actor=%FF", "invalid_filter"),
            ("actor=%00", "invalid_filter"),
            (long.as_str(), "invalid_filter"),
            ("outcome=perhaps", "invalid_filter"),
            ("from=yesterday", "invalid_filter"),
            ("to=2026-01-02", "invalid_filter"),
            ("resource=project:", "invalid_filter"),
            ("actor=a&actor=b", "invalid_query"),
            ("org_id=globex", "invalid_query"),
            ("limit=0", "invalid_limit"),
            ("after=x", "invalid_cursor"),
        ] {
            assert_eq!(Asked::parse(Some(query)).unwrap_err().code(), code, "{query}");
        }
    }
}
