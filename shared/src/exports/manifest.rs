//! What is in an archive, what is not and why, and who says so.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auditlog::SigningKey;

/// First line of the signed note.
const NOTE: &str = "millrace-export-v1";
/// Most characters of a table's name in a file's name.
const NAME_CHARACTERS: usize = 60;
/// What nobody should take an archive for.
const NO_SNAPSHOT: &str = "This is no snapshot. Each file is one page, read in a transaction of its own at its read_at, in the \
    order of the table's key. A row that was there from began_at to finished_at is in it exactly once, as it was when its page was \
    read; one that was added, changed or deleted meanwhile may be there as it was before or after, or not at all. A table without \
    key_columns is read in the order in which its rows lie: one of its rows that was changed meanwhile may be missing or there \
    twice.";
const HOW_TO_CHECK: &str = "millrace export verify ARCHIVE --key KEY compares every file with this manifest, and manifest.sig with \
    the deployment's public key. The SHA-256 of this file also stands in the tenant's audit log, as certificate_sha256 of the line \
    compliance.export_written that has this export as its resource.";
const NOT_HERE: &str =
    "Lines of the audit log are here as its index has them; verifiable ones come from millrace audit export.";

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Everything of the tenant.
    Org,
    /// What names one person of it.
    Subject,
}

/// The manifest of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The deployment that it is from.
    pub deployment: String,
    /// The export's own id.
    pub export_id: Uuid,
    /// The tenant.
    pub org_id: String,
    /// Everything, or one person's.
    pub scope: Subject,
    /// The person, with scope `subject`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// When it was asked for.
    pub requested_at: String,
    /// When the first page was read.
    pub began_at: String,
    /// When the last page was read, and nothing more was found.
    pub finished_at: String,
    /// That it is no snapshot, and what that means.
    pub no_snapshot: String,
    /// How anybody checks it.
    pub how_to_check: String,
    /// What is somewhere else.
    pub not_here: String,
    /// Rows of all files.
    pub rows: i64,
    /// Bytes of all files.
    pub bytes: i64,
    /// The tables that are in it.
    pub tables: Vec<ExportedTable>,
    /// The tables that are not, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Every file but the manifest and its signature.
    pub files: Vec<ExportedFile>,
}

/// A table of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedTable {
    /// Schema and name.
    pub table: String,
    /// Its rows in the archive.
    pub rows: i64,
    /// Columns that are in it.
    pub columns: Vec<String>,
    /// Columns that are not, each with the reason.
    pub excused: Vec<Column>,
    /// The key in whose order it was read; empty without one.
    pub key_columns: Vec<String>,
}

/// A column that is not exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub column: String,
    /// Why.
    pub reason: String,
}

/// A table that is not exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Schema and name.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// A file of an archive: JSON Lines, a row each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Its name.
    pub name: String,
    /// The table.
    pub table: String,
    /// Rows.
    pub rows: i64,
    /// Bytes.
    pub bytes: i64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// When it was read.
    pub read_at: String,
}

impl Manifest {
    /// Puts down what is true of every archive, and the sums.
    #[must_use]
    pub fn complete(mut self) -> Self {
        (self.no_snapshot, self.how_to_check, self.not_here) =
            (NO_SNAPSHOT.into(), HOW_TO_CHECK.into(), NOT_HERE.into());
        (self.rows, self.bytes) =
            self.files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
        for table in &mut self.tables {
            table.rows = self.files.iter().filter(|file| file.table == table.table).map(|file| file.rows).sum();
        }
        self
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// It cannot be rendered.
    pub fn render(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The name of a page's file: its number keeps it apart, the table's name is for people.
pub fn part_name(table: &str, page: i32) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    let table: String = table.chars().map(plain).take(NAME_CHARACTERS).collect();
    format!("data/{page:06}-{table}.jsonl")
}

/// The text that is signed.
pub(super) fn note_text(export: Uuid, manifest: &[u8]) -> String {
    format!("{NOTE}\n{export}\nsha256 {}\n", hex::encode(Sha256::digest(manifest)))
}

/// The signed note about a manifest.
pub fn sealed_note(key: &SigningKey, export: Uuid, manifest: &[u8]) -> String {
    key.sign(&note_text(export, manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_its_table_and_leads_nowhere_else() {
        assert_eq!(part_name("app.projects", 7), "data/000007-app.projects.jsonl");
        assert_eq!(part_name("app.\"../x y\"", 0), "data/000000-app.-..-x-y-.jsonl");
        assert!(part_name(&"x".repeat(200), 1_000_000).len() < 90);
    }
}
