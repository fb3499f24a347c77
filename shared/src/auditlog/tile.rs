//! Tiles of the tree, after <https://c2sp.org/tlog-tiles>: where each is, and what a folder of them says.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::layout::Layout;
use super::tree::{Hash, Nodes, node};

/// Levels of the tree in one tile.
pub const HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub const FULL: u16 = 1 << HEIGHT;
/// Bytes of a hash.
const HASH: usize = 32;
/// Tiles that are kept in memory: the path from any leaf to the root, for a few neighbours.
const KEPT: usize = 64;

/// One tile: the hashes `[n * 256, n * 256 + width)` of the tree's level `level * 8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// Level of tiles: 0 holds the leaves.
    pub level: u8,
    /// Place on its level, from 0.
    pub n: u64,
    /// Hashes in it: 1 to 256.
    pub width: u16,
}

impl TileId {
    /// The tile of a tree of `size` leaves that holds this hash of a level of tiles; `None` when the tree has none there.
    pub fn holding(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0);
        let n = index >> HEIGHT;
        (index < hashes).then(|| Self { level, n, width: (hashes - (n << HEIGHT)).min(u64::from(FULL)) as u16 })
    }

    /// The full tile at the same place.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: FULL, ..self }
    }

    /// Has it all 256 hashes?
    pub fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// Relative path: `tile/<level>/<n>` with the number in groups of three digits, `.p/<width>` when it is partial.
    pub fn path(&self) -> PathBuf {
        let mut groups = vec![format!("{:03}", self.n % 1_000)];
        let mut rest = self.n / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        let n = groups.join("/");
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        PathBuf::from(format!("tile/{}/{n}{partial}", self.level))
    }
}

/// Why a hash of the tree cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TileFault {
    /// Neither the tile nor a wider one is there.
    #[error("the tile {} is missing: copy it from a backup, or let the writer build the tiles anew from the lines", .0.display())]
    Missing(PathBuf),
    /// The file is no tile of that width.
    #[error("the tile {} has {bytes} bytes instead of {expected}: copy it from a backup", path.display())]
    Torn {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// What its name says.
        expected: usize,
    },
    /// Reading failed.
    #[error("cannot read the tile {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The tree is not that large.
    #[error("a tree of {size} leaves has no hash {index} on level {level}")]
    Beyond {
        /// Level of the tree.
        level: u8,
        /// Place on it.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
}

/// Reads the tiles of a tree of a given size.
#[derive(Debug)]
pub struct Tiles {
    layout: Layout,
    size: u64,
    kept: HashMap<(u8, u64), Arc<Vec<Hash>>>,
}

impl Tiles {
    /// The tiles in a log's folder, seen as a tree of `size` leaves.
    pub fn new(layout: Layout, size: u64) -> Self {
        Self { layout, size, kept: HashMap::new() }
    }

    /// Leaves of the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of one tile, at least as many as the tree has there.
    ///
    /// # Errors
    /// [`TileFault`].
    pub fn tile(&mut self, level: u8, n: u64) -> Result<Arc<Vec<Hash>>, TileFault> {
        if let Some(kept) = self.kept.get(&(level, n)) {
            return Ok(Arc::clone(kept));
        }
        let beyond = TileFault::Beyond { level: level * HEIGHT, index: n << HEIGHT, size: self.size };
        let id = TileId::holding(level, n << HEIGHT, self.size).ok_or(beyond)?;
        let hashes = Arc::new(read(&self.layout, id)?);
        if self.kept.len() >= KEPT {
            // What is low in the tree is left behind first; the few tiles above are used again and again.
            let lowest = self.kept.keys().min().copied();
            lowest.and_then(|lowest| self.kept.remove(&lowest));
        }
        self.kept.insert((level, n), Arc::clone(&hashes));
        Ok(hashes)
    }

    /// The leaf hash at an index.
    ///
    /// # Errors
    /// [`TileFault`].
    pub fn leaf(&mut self, index: u64) -> Result<Hash, TileFault> {
        self.hash(0, index)
    }
}

impl Nodes for Tiles {
    type Fault = TileFault;

    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, TileFault> {
        let beyond = TileFault::Beyond { level, index, size: self.size };
        // A tile may be wider than this tree, and hold hashes of a larger one.
        if index.checked_add(1).and_then(|end| end.checked_shl(level.into())).is_none_or(|end| end > self.size) {
            return Err(beyond);
        }
        // Each tile holds its lowest level; the levels between are computed from it.
        let inner = level % HEIGHT;
        let first = index << inner;
        let tile = self.tile(level / HEIGHT, first >> HEIGHT)?;
        let from = (first & u64::from(FULL - 1)) as usize;
        let mut row = tile.get(from..from + (1 << inner)).ok_or(beyond.clone())?.to_vec();
        while row.len() > 1 {
            row = row.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
        }
        row.pop().ok_or(beyond)
    }
}

/// The tile as the tree's size asks for it, or a wider one: the writer stores tiles before the checkpoint that covers
/// them, and takes the narrower away.
fn read(layout: &Layout, id: TileId) -> Result<Vec<Hash>, TileFault> {
    let mut candidates = vec![id];
    if !id.is_full() {
        // The full one last: a writer that grows meanwhile stores the wider one before it takes the narrower away.
        candidates.extend((id.width + 1..=FULL).map(|width| TileId { width, ..id }));
    }
    for candidate in candidates {
        let path = layout.tile(&candidate);
        match std::fs::read(&path) {
            Ok(bytes) if bytes.len() == usize::from(candidate.width) * HASH => return Ok(hashes(&bytes)),
            Ok(bytes) => {
                let expected = usize::from(candidate.width) * HASH;
                return Err(TileFault::Torn { path, bytes: bytes.len(), expected });
            }
            Err(fault) if is_absent(&fault) => {}
            Err(source) => return Err(TileFault::Io { path, source: Arc::new(source) }),
        }
    }
    Err(TileFault::Missing(layout.tile(&id)))
}

fn is_absent(fault: &std::io::Error) -> bool {
    matches!(fault.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<HASH>().0.iter().map(|bytes| Hash(*bytes)).collect()
}

#[cfg(test)]
pub(super) mod tests;
