//! `compliance.export_page`: reads the next rows, or finds that there are none and sums up.

use std::time::{Duration, Instant};

use millrace::auditlog::SigningKey;
use millrace::contract::Timestamp;
use millrace::contract::payloads::{
    ComplianceExportPage, ComplianceExportWritten, ExportWritten, WrittenManifest, WrittenRows,
};
use millrace::db::TenantTx;
use millrace::exports::{
    Column, ExportStore, ExportedFile, ExportedTable, LeftOut, Manifest, Subject, part_name, sealed_note,
};
use millrace::pipeline::{Answered, CallFault, Egress, Fault, Message};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{EXPORT, LONGEST_OUTAGE, READING, waits};
use crate::compliance::LONGEST_WAIT;

/// Most rows of a page.
const MOST_ROWS: i32 = 2_000;
/// A page takes no further row after so many bytes; one row may be larger by itself.
const MOST_BYTES: i64 = 4 << 20;

/// How long tables without a row are searched in one page.
const LONGEST_LOOK: Duration = Duration::from_secs(20);

/// The key that signs was taken out of the configuration while an export was under way.
const KEYLESS: CallFault = CallFault::Wait { code: "export_key_missing", window: LONGEST_OUTAGE, after: None };

/// Writes pages.
#[derive(Debug)]
pub struct WritePage {
    deployment: String,
    store: ExportStore,
    key: Option<SigningKey>,
}

impl WritePage {
    /// Writes into this store, and signs manifests with this key; without one they wait for it.
    pub fn new(deployment: impl Into<String>, store: ExportStore, key: Option<SigningKey>) -> Self {
        Self { deployment: deployment.into(), store, key }
    }
}

/// What is to be written.
#[derive(Debug)]
pub struct ToWrite {
    export_id: Uuid,
    page: i32,
    what: What,
}

#[derive(Debug)]
enum What {
    Rows { place: String, last_key: Option<Vec<String>>, rows: i64, text: String },
    Manifest(Box<Manifest>),
    Delete,
}

/// An export as its row says.
struct Standing {
    person: Option<String>,
    whole: bool,
    state: String,
    pages: i32,
    place: Option<String>,
    after_key: Option<Vec<String>>,
    requested_at: OffsetDateTime,
}

/// A row as JSON, with its key; both are absent where a page ends for its bytes.
struct Row {
    line: Option<String>,
    row_key: Option<Vec<String>>,
}

/// A table as the catalogue says.
struct Table {
    place: String,
    columns: Vec<String>,
    excused: serde_json::Value,
    key_columns: Vec<String>,
    reason: Option<String>,
}

impl Egress for WritePage {
    type Payload = ComplianceExportPage;
    type Request = ToWrite;
    type Answer = ComplianceExportWritten;

    async fn read(tx: &mut TenantTx<'_>, message: &Message<ComplianceExportPage>) -> Result<ToWrite, Fault> {
        let ComplianceExportPage { export_id, page } = message.payload;
        let standing = standing(tx, export_id).await?;
        let of = |what| ToWrite { export_id, page, what };
        match standing.state.as_str() {
            "running" if standing.pages == page => {}
            // A page of it that was written by a process that ended right then is nobody's.
            "revoked" | "expired" => return Ok(of(What::Delete)),
            _ => return Err(Fault::Reject { code: "export_page_done" }),
        }
        // A subject export without a person is of somebody who was erased.
        if standing.person.is_none() && !standing.whole {
            return Ok(of(What::Delete));
        }
        tx.allow(READING).await?;
        let tables = tables(tx, standing.person.as_deref()).await?;
        if let Some(rows) = next_rows(tx, &standing, &tables).await? {
            return Ok(of(rows));
        }
        let manifest = manifest(tx, export_id, standing, tables, message.decided_at).await?;
        Ok(of(What::Manifest(Box::new(manifest))))
    }

    async fn call(
        &self,
        ToWrite { export_id, page, what }: ToWrite,
    ) -> Result<Answered<ComplianceExportWritten>, CallFault> {
        let written = match what {
            What::Rows { place, last_key, rows, text } => {
                let (object, sha256, bytes) = self.keep(export_id, page, text.into_bytes()).await?;
                let name = part_name(&place, page);
                ExportWritten::Rows(WrittenRows { name, object, place, last_key, rows, bytes, sha256 })
            }
            What::Manifest(manifest) => {
                let manifest = Manifest { deployment: self.deployment.clone(), ..*manifest };
                let rendered = manifest.render().map_err(|_| CallFault::Reject { code: "manifest_unrenderable" })?;
                let key = self.key.as_ref().ok_or(KEYLESS)?;
                let signature = sealed_note(key, export_id, &rendered);
                let (object, sha256, bytes) = self.keep(export_id, page, rendered).await?;
                ExportWritten::Manifest(WrittenManifest { object, bytes, sha256, signature })
            }
            What::Delete => {
                self.store.delete_export(export_id).await.map_err(|fault| waits(&fault, LONGEST_WAIT))?;
                ExportWritten::Nothing
            }
        };
        Ok(Answered::resource(EXPORT, export_id, ComplianceExportWritten { export_id, page, written }))
    }
}

impl WritePage {
    /// Named by page and content: the same page is the same object, and one that was read again after a change lies beside
    /// the first, so that no late copy of a write changes what was noted.
    async fn keep(&self, export_id: Uuid, page: i32, content: Vec<u8>) -> Result<(String, String, i64), CallFault> {
        let sha256 = hex::encode(Sha256::digest(&content));
        let object = format!("{export_id}/{page:06}-{}", &sha256[..16]);
        let bytes = i64::try_from(content.len()).unwrap_or(i64::MAX);
        self.store.write(&object, content).await.map_err(|fault| waits(&fault, LONGEST_OUTAGE))?;
        Ok((object, sha256, bytes))
    }
}

async fn standing(tx: &mut TenantTx<'_>, id: Uuid) -> Result<Standing, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        "SELECT scope, subject, state, pages, place, after_key, requested_at FROM app.exports WHERE org_id = $1 AND id = $2",
        org,
        id
    )
    .fetch_optional(tx.conn())
    .await?;
    let row = row.ok_or(Fault::Reject { code: "export_not_found" })?;
    Ok(Standing {
        whole: row.scope == "org",
        person: row.subject,
        state: row.state,
        pages: row.pages,
        place: row.place,
        after_key: row.after_key,
        requested_at: row.requested_at,
    })
}

/// Every table, in the order in which they are read.
async fn tables(tx: &mut TenantTx<'_>, person: Option<&str>) -> Result<Vec<Table>, Fault> {
    let tables = sqlx::query_as!(
        Table,
        r#"SELECT place AS "place!", columns AS "columns!", excused AS "excused!", key_columns AS "key_columns!", reason
           FROM app.export_tables($1)"#,
        person
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(tables)
}

/// The rows behind the last page, of its table or of the next one that has any.
async fn next_rows(tx: &mut TenantTx<'_>, at: &Standing, tables: &[Table]) -> Result<Option<What>, Fault> {
    let last = at.place.as_deref().unwrap_or_default();
    let goes_on = |place: &str| place > last || (place == last && at.after_key.is_some());
    let began = Instant::now();
    for table in tables.iter().filter(|table| table.reason.is_none() && goes_on(&table.place)) {
        let after = at.after_key.as_deref().filter(|_| table.place == last);
        if let Some(rows) = rows(tx, &table.place, at.person.as_deref(), after).await? {
            return Ok(Some(rows));
        }
        // What was searched in vain is noted too, or a long search would begin anew for ever.
        if began.elapsed() > LONGEST_LOOK {
            return Ok(Some(What::Rows { place: table.place.clone(), last_key: None, rows: 0, text: String::new() }));
        }
    }
    Ok(None)
}

async fn rows(
    tx: &mut TenantTx<'_>,
    place: &str,
    person: Option<&str>,
    after: Option<&[String]>,
) -> Result<Option<What>, Fault> {
    // Bodies of the engine's tables are read by a function of their owner's, which is bounded to the tenant in scope.
    let found = if place.starts_with("engine.") {
        sqlx::query_as!(
            Row,
            "SELECT line, row_key FROM engine.export_rows($1, $2, $3, $4, $5)",
            place,
            person,
            after,
            MOST_ROWS,
            MOST_BYTES
        )
        .fetch_all(tx.conn())
        .await?
    } else {
        sqlx::query_as!(
            Row,
            "SELECT line, row_key FROM app.export_rows($1, $2, $3, $4, $5)",
            place,
            person,
            after,
            MOST_ROWS,
            MOST_BYTES
        )
        .fetch_all(tx.conn())
        .await?
    };
    let (mut rows, mut last_key) = (0, None);
    let mut more = found.last().is_some_and(|row| row.line.is_none());
    let mut text = String::with_capacity(found.iter().flat_map(|row| &row.line).map(|line| line.len() + 1).sum());
    for (line, key) in found.into_iter().filter_map(|row| row.line.zip(row.row_key)) {
        text.push_str(&line);
        text.push('\n');
        (rows, last_key) = (rows + 1, Some(key));
    }
    if rows == 0 {
        return Ok(None);
    }
    // A page that is not full is the last of its table: what the export itself adds meanwhile would never end.
    more |= rows >= i64::from(MOST_ROWS);
    let last_key = last_key.filter(|_| more);
    Ok(Some(What::Rows { place: place.to_owned(), last_key, rows, text }))
}

/// What all pages together are.
async fn manifest(
    tx: &mut TenantTx<'_>,
    export_id: Uuid,
    standing: Standing,
    tables: Vec<Table>,
    now: Timestamp,
) -> Result<Manifest, Fault> {
    let org_id = tx.tenant().to_string();
    let files = sqlx::query!(
        "SELECT name, place, row_count, byte_count, sha256, read_at FROM app.export_files
         WHERE org_id = $1 AND export_id = $2 ORDER BY page",
        org_id,
        export_id
    )
    .fetch_all(tx.conn())
    .await?;
    let began = files.first().map_or(now, |file| Timestamp::new(file.read_at));
    let files = files.into_iter().map(|file| ExportedFile {
        name: file.name,
        table: file.place,
        rows: file.row_count,
        bytes: file.byte_count,
        sha256: file.sha256,
        read_at: Timestamp::new(file.read_at).to_string(),
    });
    let (mut exported, mut left_out) = (Vec::new(), Vec::new());
    for Table { place: table, columns, excused, key_columns, reason } in tables {
        match reason {
            Some(reason) => left_out.push(LeftOut { table, reason }),
            None => {
                let excused: Vec<Column> = serde_json::from_value(excused).unwrap_or_default();
                exported.push(ExportedTable { table, rows: 0, columns, excused, key_columns });
            }
        }
    }
    let manifest = Manifest {
        deployment: String::new(),
        export_id,
        org_id,
        scope: if standing.whole { Subject::Org } else { Subject::Subject },
        user_id: standing.person,
        requested_at: Timestamp::new(standing.requested_at).to_string(),
        began_at: began.to_string(),
        finished_at: now.to_string(),
        no_snapshot: String::new(),
        how_to_check: String::new(),
        not_here: String::new(),
        rows: 0,
        bytes: 0,
        tables: exported,
        left_out,
        files: files.collect(),
    };
    Ok(manifest.complete())
}
