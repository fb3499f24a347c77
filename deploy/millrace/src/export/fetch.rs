//! `millrace export fetch`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use futures_util::TryStreamExt;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::exports::{Archive, ExportStore, MANIFEST, Part, SIGNATURE};
use serde_json::{Map, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::EXPORT;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace export fetch org_2abC 0192f0c1-7c1b-7d5e-9f3a-2b4c6d8e0f1a --out org_2abC.tar\n\
    It reads the store of compliance.export_store. That you fetched it stands in the tenant's audit log. Then: \
    millrace export verify org_2abC.tar --key KEY";

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The tenant.
    org_id: String,
    /// As millrace export list shows it.
    export_id: Uuid,
    /// A new file for the archive; only you may read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Fetch {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let org = TenantId::parse(&self.org_id).map_err(|fault| Usage(fault.to_string()))?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let store = ExportStore::new(&config.compliance.exports.store)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let (finished, parts) = self.parts(act.conn(), &org).await?;
        let id = self.export_id.to_string();
        // On record before the first byte is read.
        act.commit(&org, "export.fetch", (EXPORT, &id), Map::new()).await?;
        let archive = Archive::new(self.export_id, finished, parts, store);
        let length = archive.length();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.out)
            .map_err(|fault| Usage(format!("cannot create {}: {fault}", self.out.display())))?;
        let mut pieces = archive.stream();
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        let text = format!("{length} bytes in {}: now millrace export verify", self.out.display());
        screen.done(&text, json!({ "org_id": org.as_str(), "export_id": id, "bytes": length, "file": self.out }));
        Ok(())
    }

    async fn parts(&self, conn: &mut sqlx::PgConnection, org: &TenantId) -> Result<(u64, Vec<Part>), CommandFault> {
        let row = sqlx::query!(
            "SELECT state, expires_at, finished_at, manifest_object, manifest_bytes, signature FROM app.exports
             WHERE org_id = $1 AND id = $2",
            org.as_str(),
            self.export_id
        )
        .fetch_optional(&mut *conn)
        .await?;
        let none = || Usage(format!("{org} has no export {}: millrace export list {org}", self.export_id));
        let row = row.ok_or_else(none)?;
        let state = if row.expires_at <= OffsetDateTime::now_utc() { "expired" } else { row.state.as_str() };
        let ready = row.manifest_object.zip(row.manifest_bytes).zip(row.signature).filter(|_| state == "ready");
        let Some(((object, bytes), text)) = ready else {
            return Err(Usage(format!(
                "the export is {state}, so there is nothing to fetch: millrace export list {org} shows how far it is, and \
                 millrace export request {org} begins another"
            ))
            .into());
        };
        let mut parts = vec![
            Part::Object { name: MANIFEST.to_owned(), object, bytes: bytes.unsigned_abs() },
            Part::Text { name: SIGNATURE.to_owned(), text },
        ];
        let files = sqlx::query!(
            "SELECT name, object, byte_count FROM app.export_files WHERE org_id = $1 AND export_id = $2 ORDER BY page",
            org.as_str(),
            self.export_id
        )
        .fetch_all(conn)
        .await?;
        parts.extend(files.into_iter().map(|file| Part::Object {
            name: file.name,
            object: file.object,
            bytes: file.byte_count.unsigned_abs(),
        }));
        Ok((row.finished_at.map_or(0, |at| at.unix_timestamp().unsigned_abs()), parts))
    }
}
