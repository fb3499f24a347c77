//! What a verification finds: stable names, and the exit code of each.

use serde::Serialize;

use super::super::tree::Hash;

/// What is wrong. The names are stable: programs match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A line is not what the tree says.
    LineAltered,
    /// A line that the tree does not know stands between others.
    LineInserted,
    /// A line stands at another place than in the tree.
    LineMoved,
    /// A line that the tree holds is gone from its file.
    LineMissing,
    /// Lines and tiles were both changed: the signed root says so.
    RangeAltered,
    /// A tile is not what lines and signed root say; the lines are right.
    TileAltered,
    /// A tile is gone or torn.
    TileMissing,
    /// A line is covered by the tree, but no line of an audit log.
    LineForeign,
    /// A tenant's numbers have a gap or come twice.
    SequenceBroken,
    /// A line does not name its tenant's previous line.
    PreviousHashWrong,
    /// Two lines have one event id.
    DuplicateId,
    /// A retention record is not in the tree, or says what the log contradicts.
    RetentionFalse,
    /// `segments.jsonl` contradicts the files.
    LedgerContradicts,
    /// The beginning of the log is gone, and no retention record says why.
    HeadMissing,
    /// A whole segment is gone, and no retention record says why.
    SegmentMissing,
    /// The end that the newest checkpoint covers is gone.
    TailMissing,
    /// There is no checkpoint.
    CheckpointMissing,
    /// The history of checkpoints is gone or lacks the newest.
    HistoryMissing,
    /// A part of a bundle is gone.
    PartMissing,
    /// Signed by a key that is not known.
    UnknownKey,
    /// A known key's signature does not fit.
    SignatureWrong,
    /// Signed outside the time in which the key was valid.
    KeyNotValid,
    /// A note that cannot be read.
    NoteMalformed,
    /// Two signed checkpoints contradict each other.
    HistoryInconsistent,
    /// An older checkpoint stands in the place of the newest.
    CheckpointOld,
    /// The log is smaller than a checkpoint from outside says.
    RolledBack,
    /// A checkpoint from outside is of another history.
    Forked,
    /// An inclusion proof does not lead to the signed root.
    ProofWrong,
    /// Fewer witnesses cosigned than the policy asks for.
    WitnessesMissing,
}

impl Fault {
    /// Every fault, in the order of exit codes.
    pub const ALL: [Self; 29] = [
        Self::LineAltered,
        Self::LineInserted,
        Self::LineMoved,
        Self::RangeAltered,
        Self::TileAltered,
        Self::LineForeign,
        Self::SequenceBroken,
        Self::PreviousHashWrong,
        Self::DuplicateId,
        Self::RetentionFalse,
        Self::LedgerContradicts,
        Self::ProofWrong,
        Self::LineMissing,
        Self::HeadMissing,
        Self::SegmentMissing,
        Self::TailMissing,
        Self::TileMissing,
        Self::CheckpointMissing,
        Self::HistoryMissing,
        Self::PartMissing,
        Self::UnknownKey,
        Self::SignatureWrong,
        Self::KeyNotValid,
        Self::NoteMalformed,
        Self::HistoryInconsistent,
        Self::CheckpointOld,
        Self::RolledBack,
        Self::Forked,
        Self::WitnessesMissing,
    ];

    /// The name that programs match on.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineAltered => "line-altered",
            Self::LineInserted => "line-inserted",
            Self::LineMoved => "line-moved",
            Self::LineMissing => "line-missing",
            Self::RangeAltered => "range-altered",
            Self::TileAltered => "tile-altered",
            Self::TileMissing => "tile-missing",
            Self::LineForeign => "line-foreign",
            Self::SequenceBroken => "sequence-broken",
            Self::PreviousHashWrong => "previous-hash-wrong",
            Self::DuplicateId => "duplicate-id",
            Self::RetentionFalse => "retention-false",
            Self::LedgerContradicts => "ledger-contradicts",
            Self::HeadMissing => "head-missing",
            Self::SegmentMissing => "segment-missing",
            Self::TailMissing => "tail-missing",
            Self::CheckpointMissing => "checkpoint-missing",
            Self::HistoryMissing => "history-missing",
            Self::PartMissing => "part-missing",
            Self::UnknownKey => "unknown-key",
            Self::SignatureWrong => "signature-wrong",
            Self::KeyNotValid => "key-not-valid",
            Self::NoteMalformed => "note-malformed",
            Self::HistoryInconsistent => "history-inconsistent",
            Self::CheckpointOld => "checkpoint-old",
            Self::RolledBack => "rolled-back",
            Self::Forked => "forked",
            Self::ProofWrong => "proof-wrong",
            Self::WitnessesMissing => "witnesses-missing",
        }
    }

    /// 1 altered, 2 missing or truncated, 3 signature or key, 4 inconsistent history, 5 witness coverage.
    pub fn exit(self) -> u8 {
        match self {
            Self::LineAltered
            | Self::LineInserted
            | Self::LineMoved
            | Self::RangeAltered
            | Self::TileAltered
            | Self::LineForeign
            | Self::SequenceBroken
            | Self::PreviousHashWrong
            | Self::DuplicateId
            | Self::RetentionFalse
            | Self::LedgerContradicts
            | Self::ProofWrong => 1,
            Self::LineMissing
            | Self::HeadMissing
            | Self::SegmentMissing
            | Self::TailMissing
            | Self::TileMissing
            | Self::CheckpointMissing
            | Self::HistoryMissing
            | Self::PartMissing => 2,
            Self::UnknownKey | Self::SignatureWrong | Self::KeyNotValid | Self::NoteMalformed => 3,
            Self::HistoryInconsistent | Self::CheckpointOld | Self::RolledBack | Self::Forked => 4,
            Self::WitnessesMissing => 5,
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// First affected index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The affected range ends before this index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// In which file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// In which of its lines, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The hash that the tree has, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The hash of what is there, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What it means, and what to do next.
    pub text: String,
}

impl Finding {
    /// A fault without a place.
    pub(super) fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, index: None, to: None, file: None, line: None, expected: None, found: None, text: text.into() }
    }

    /// It affects the lines `[from, to)`.
    pub(super) fn range(mut self, from: u64, to: u64) -> Self {
        (self.index, self.to) = (Some(from), Some(to));
        self
    }

    /// It stands in this file.
    pub(super) fn file(mut self, path: &std::path::Path) -> Self {
        self.file = Some(path.display().to_string());
        self
    }

    /// In this line, from 1.
    pub(super) fn line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The tree has one hash and the line another.
    pub(super) fn hashes(mut self, expected: Option<Hash>, found: Option<Hash>) -> Self {
        (self.expected, self.found) = (expected.map(|h| h.to_string()), found.map(|h| h.to_string()));
        self
    }
}
