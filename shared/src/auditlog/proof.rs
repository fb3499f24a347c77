//! Proofs as text, after <https://c2sp.org/tlog-proof>, and the manifest of an export.

use super::layout::Layout;
use super::note::{Checkpoint, KeyFault, NoteFault, SigningKey, VerifyingKey, open_text};
use super::segments::{Lines, SegmentFault};
use super::tree::Hash;
use crate::contract::Timestamp;

/// First line of a proof.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// First line of a manifest. No checkpoint looks like it: a checkpoint's second line is a number.
const MANIFEST: &str = "millrace audit export v1";

/// That a leaf stands at an index of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The index.
    pub index: u64,
    /// The audit path, from the leaf upward.
    pub hashes: Vec<Hash>,
}

impl Proof {
    /// The proof without its checkpoint. Followed by an empty line and the checkpoint's note it is a `.tlog-proof` file.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text
    }
}

/// Reads proofs that stand one after another, each followed by an empty line.
#[derive(Debug)]
pub struct Proofs(Lines);

impl Proofs {
    /// Opens a file of proofs.
    ///
    /// # Errors
    /// [`SegmentFault::Io`].
    pub fn open(path: &std::path::Path) -> Result<Self, SegmentFault> {
        Lines::of_file(path, false).map(Self)
    }

    /// The next proof; `Some(None)` when what stands there is none.
    ///
    /// # Errors
    /// [`SegmentFault`].
    pub fn next_proof(&mut self) -> Result<Option<Option<Proof>>, SegmentFault> {
        let Some(block) = self.block()? else { return Ok(None) };
        let mut lines = block.iter().map(String::as_str);
        let known = lines.next() == Some(HEADER);
        let mut lines = lines.skip_while(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(|index| index.parse().ok());
        let hashes: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        Ok(Some(index.zip(hashes).filter(|_| known).map(|(index, hashes)| Proof { index, hashes })))
    }

    /// The next consistency proof, whose first line is `size <number>`.
    ///
    /// # Errors
    /// [`SegmentFault`].
    pub fn next_consistency(&mut self) -> Result<Option<(u64, Vec<Hash>)>, SegmentFault> {
        let Some(block) = self.block()? else { return Ok(None) };
        let size = block.first().and_then(|line| line.strip_prefix("size ")).and_then(|size| size.parse().ok());
        let hashes: Option<Vec<Hash>> = block.iter().skip(1).map(|line| Hash::from_base64(line)).collect();
        // What cannot be read proves nothing.
        Ok(Some((size.unwrap_or(0), hashes.unwrap_or_default())))
    }

    /// Lines up to an empty one.
    fn block(&mut self) -> Result<Option<Vec<String>>, SegmentFault> {
        let mut block = Vec::new();
        while let Some(line) = self.0.next_line()? {
            if line.bytes().is_empty() {
                return Ok(Some(block));
            }
            block.push(String::from_utf8_lossy(line.bytes()).into_owned());
        }
        Ok((!block.is_empty()).then_some(block))
    }
}

/// What an export of one tenant holds. Signed by the log's key: a line that it withholds proves it a lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the log.
    pub origin: String,
    /// The tenant.
    pub org_id: String,
    /// Number of lines.
    pub lines: u64,
    /// The tenant's number of the first of them.
    pub first: u64,
    /// The tenant's last number in a tree of `size` leaves.
    pub last: u64,
    /// Size of the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// When the export was made.
    pub time: Timestamp,
}

impl Manifest {
    /// The manifest of what was exported at a checkpoint.
    pub fn at(checkpoint: &Checkpoint, org_id: &str, (lines, first, last): (u64, u64, u64), time: Timestamp) -> Self {
        let Checkpoint { origin, size, root, .. } = checkpoint.clone();
        Self { origin, org_id: org_id.to_owned(), lines, first, last, size, root, time }
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> String {
        let Self { origin, org_id, lines, first, last, size, root, time } = self;
        let root = root.to_base64();
        key.sign(&format!(
            "{MANIFEST}\nlog {origin}\norg {org_id}\nlines {lines}\nfirst {first}\nlast {last}\nsize {size}\nroot {root}\ntime {time}\n"
        ))
    }

    /// Reads and verifies a manifest.
    ///
    /// # Errors
    /// [`NoteFault`].
    pub fn open(note: &str, keys: &[VerifyingKey]) -> Result<Self, NoteFault> {
        let (text, key) = open_text(note, keys)?;
        let mut lines = text.lines();
        let known = lines.next() == Some(MANIFEST);
        let mut field = |name: &str| {
            let line = lines.next().filter(|_| known).and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or(NoteFault::Text("it is no manifest of an export"))
        };
        let number = |text: &str| text.parse().map_err(|_| NoteFault::Text("a number of the manifest is none"));
        let manifest = Self {
            origin: field("log")?.to_owned(),
            org_id: field("org")?.to_owned(),
            lines: number(field("lines")?)?,
            first: number(field("first")?)?,
            last: number(field("last")?)?,
            size: number(field("size")?)?,
            root: Hash::from_base64(field("root")?).ok_or(NoteFault::Text("its root is no hash"))?,
            time: Timestamp::parse(field("time")?).ok_or(NoteFault::Text("its time is none"))?,
        };
        if manifest.origin == key.name() {
            Ok(manifest)
        } else {
            Err(NoteFault::Origin { origin: manifest.origin, key: key.name().to_owned() })
        }
    }
}

/// Public keys in a log's or an export's folder.
///
/// # Errors
/// The file cannot be read, is no list, or holds what is no key.
pub fn published_keys(layout: &Layout) -> Result<Vec<VerifyingKey>, PublishedFault> {
    #[derive(serde::Deserialize)]
    struct Entry {
        vkey: String,
    }
    let entries: Vec<Entry> = serde_json::from_slice(&std::fs::read(layout.vkeys())?)?;
    Ok(entries.iter().map(|entry| VerifyingKey::parse(&entry.vkey)).collect::<Result<_, KeyFault>>()?)
}

/// `vkeys.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublishedFault {
    /// Reading failed.
    #[error("cannot read vkeys.json")]
    Io(#[from] std::io::Error),
    /// It is no list of keys.
    #[error("vkeys.json is no list of keys")]
    Form(#[from] serde_json::Error),
    /// A key in it is none.
    #[error("vkeys.json holds a broken key")]
    Key(#[from] KeyFault),
}
