//! The names of the files below `compliance.audit_log_path`.

use std::path::{Path, PathBuf};

use super::tile::TileId;

/// A folder with the files of one audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(PathBuf);

impl Layout {
    /// The log in this folder, whether or not it exists.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Locked by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Where the lines are.
    pub fn segments_dir(&self) -> PathBuf {
        self.0.join("seg")
    }

    /// The segment whose first line has this index, as it is written.
    pub fn segment(&self, first: u64) -> PathBuf {
        self.segments_dir().join(format!("{first:020}.jsonl"))
    }

    /// The same segment, closed and compressed.
    pub fn closed(&self, first: u64) -> PathBuf {
        self.segments_dir().join(format!("{first:020}.jsonl.zst"))
    }

    /// One object for each closed segment.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("segments.jsonl")
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// Every checkpoint, each followed by an empty line.
    pub fn history(&self) -> PathBuf {
        self.0.join("checkpoints.log")
    }

    /// Public keys with the time in which each signed.
    pub fn vkeys(&self) -> PathBuf {
        self.0.join("vkeys.json")
    }

    /// The records of what retention dropped.
    pub fn retention(&self) -> PathBuf {
        self.0.join("retention.jsonl")
    }

    /// The lines of an export, beside the files that it has in common with a log.
    pub fn export_lines(&self) -> PathBuf {
        self.0.join("lines.jsonl")
    }

    /// One inclusion proof for each of them.
    pub fn export_proofs(&self) -> PathBuf {
        self.0.join("proofs")
    }

    /// What an export holds, signed.
    pub fn export_manifest(&self) -> PathBuf {
        self.0.join("manifest")
    }

    /// One inclusion proof for each line of an export's `retention.jsonl`.
    pub fn retention_proofs(&self) -> PathBuf {
        self.0.join("retention.proofs")
    }

    /// Where the line before an export's first stood, when retention dropped it.
    pub fn boundary(&self) -> PathBuf {
        self.0.join("boundary")
    }

    /// One consistency proof for each checkpoint of an export's history.
    pub fn consistency(&self) -> PathBuf {
        self.0.join("consistency")
    }

    /// Where the tiles of the tree are.
    pub fn tiles_dir(&self) -> PathBuf {
        self.0.join("tile")
    }

    /// One tile of the tree.
    pub fn tile(&self, id: &TileId) -> PathBuf {
        self.0.join(id.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_sort_by_their_first_index() {
        let log = Layout::new("/log");
        assert_eq!(log.segment(0), Path::new("/log/seg/00000000000000000000.jsonl"));
        assert_eq!(log.closed(u64::MAX), Path::new("/log/seg/18446744073709551615.jsonl.zst"));
        assert!(log.segment(9) < log.segment(10));
    }
}
