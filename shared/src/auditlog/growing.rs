//! The tree as it grows: the open tile of every level in memory, full tiles written once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::abreast::perfect;
use super::durable;
use super::fault::{LogFault, io};
use super::layout::Layout;
use super::tile::TileId;
use super::tree::{Frontier, Hash};

/// Most folders between the log's own and a tile: a number of a tile has seven groups of digits at most.
const MOST_GROUPS: usize = 10;
/// Hashes of a full tile.
const FULL: usize = 256;

/// The tree of the lines so far.
#[derive(Debug)]
pub(super) struct Growing {
    layout: Layout,
    size: u64,
    /// The open tile of each level, from the leaves up: less than [`FULL`] hashes.
    open: Vec<Vec<Hash>>,
    /// Full tiles that are not durable yet.
    full: Vec<(TileId, Vec<Hash>)>,
    /// How many of them have their files.
    spilled: usize,
    /// Those files.
    written: Written,
    /// Partial tiles of the last checkpoint.
    partial: BTreeSet<PathBuf>,
    /// Partial tiles that no checkpoint needs any more, once the next one is written.
    superseded: Vec<PathBuf>,
}

impl Growing {
    /// The tree at a size whose partial tiles are there.
    pub(super) fn load(layout: Layout, size: u64) -> Result<Self, LogFault> {
        let mut tree = Self {
            layout,
            size,
            open: Vec::new(),
            full: Vec::new(),
            spilled: 0,
            written: Written::default(),
            partial: BTreeSet::new(),
            superseded: Vec::new(),
        };
        let mut count = size;
        while count > 0 {
            let level = tree.open.len();
            let hashes = match tree.open_tile(level, (count % FULL as u64) as usize) {
                Some(tile) => {
                    let path = tree.layout.tile(&tile);
                    let hashes = read_tile(&path, usize::from(tile.width))?;
                    tree.partial.insert(path);
                    hashes
                }
                None => Vec::new(),
            };
            tree.open.push(hashes);
            count /= FULL as u64;
        }
        Ok(tree)
    }

    /// Lines so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Root of all lines so far.
    pub(super) fn root(&self) -> Option<Hash> {
        let mut peaks = Vec::new();
        for hashes in self.open.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (whole, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.extend(perfect(whole.to_vec()));
                rest = after;
            }
        }
        Frontier::from_hashes(self.size, peaks).map(|frontier| frontier.root())
    }

    /// One line more.
    pub(super) fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let (mut hash, mut count) = (leaf, self.size);
        for level in 0_u8.. {
            let place = usize::from(level);
            if self.open.len() <= place {
                self.open.push(Vec::with_capacity(FULL));
            }
            self.open[place].push(hash);
            if self.open[place].len() < FULL {
                return;
            }
            let hashes = std::mem::replace(&mut self.open[place], Vec::with_capacity(FULL));
            let Some(root) = perfect(hashes.clone()) else { return };
            count /= FULL as u64;
            self.full.push((TileId { level, n: count - 1, width: 256 }, hashes));
            hash = root;
        }
    }

    /// Gives full tiles their files ahead of the next checkpoint, which then has less to do. They are not durable yet.
    pub(super) fn spill(&mut self) -> Result<(), LogFault> {
        for (tile, hashes) in &self.full[self.spilled..] {
            self.written.tile(self.layout.tile(tile), hashes)?;
            self.spilled += 1;
        }
        Ok(())
    }

    /// How many full tiles have no file yet.
    pub(super) fn unspilled(&self) -> usize {
        self.full.len() - self.spilled
    }

    /// Writes full tiles and the partial ones of this size, durable when this returns.
    pub(super) fn write(&mut self) -> Result<(), LogFault> {
        match self.write_all() {
            Ok(partial) => {
                self.full.clear();
                self.superseded.extend(self.partial.difference(&partial).cloned());
                self.partial = partial;
                self.forget();
                Ok(())
            }
            Err(fault) => {
                // What a disk has refused once it may have lost: all of it is written again.
                self.forget();
                Err(fault)
            }
        }
    }

    fn forget(&mut self) {
        (self.spilled, self.written) = (0, Written::default());
    }

    fn write_all(&mut self) -> Result<BTreeSet<PathBuf>, LogFault> {
        self.spill()?;
        let mut partial = BTreeSet::new();
        for level in 0..self.open.len() {
            let hashes = &self.open[level];
            let Some(tile) = self.open_tile(level, hashes.len()) else { continue };
            let path = self.layout.tile(&tile);
            if !self.partial.contains(&path) {
                self.written.tile(path.clone(), hashes)?;
            }
            partial.insert(path);
        }
        self.written.sync(self.layout.folder())?;
        Ok(partial)
    }

    /// Removes the partial tiles that the newest checkpoint supersedes. What stays behind does no harm.
    pub(super) fn sweep(&mut self) {
        for tile in self.superseded.drain(..) {
            let _ = std::fs::remove_file(&tile);
            // Only an empty folder goes.
            let _ = tile.parent().map(std::fs::remove_dir);
        }
    }

    fn open_tile(&self, level: usize, width: usize) -> Option<TileId> {
        let level = u8::try_from(level).ok()?;
        let n = self.size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        u16::try_from(width).ok().filter(|width| *width > 0).map(|width| TileId { level, n, width })
    }
}

/// Reads a tile of exactly this width.
pub(super) fn read_tile(path: &Path, width: usize) -> Result<Vec<Hash>, LogFault> {
    let bytes = durable::read(path)?.filter(|bytes| bytes.len() == 32 * width);
    let bytes =
        bytes.ok_or_else(|| LogFault::Damaged { path: path.to_owned(), problem: "is no whole tile of the tree" })?;
    let (hashes, _) = bytes.as_chunks::<32>();
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// Files that are written and not yet durable.
#[derive(Debug, Default)]
struct Written {
    files: Vec<(PathBuf, File)>,
    /// Folders whose names have changed.
    folders: BTreeSet<PathBuf>,
}

impl Written {
    /// So many files are made durable one by one; more of them by one flush of their file system, which costs less and
    /// does not stand in the way of the lines' own flushes.
    const FEW: usize = 16;

    fn tile(&mut self, path: PathBuf, hashes: &[Hash]) -> Result<(), LogFault> {
        if let Some(folder) = path.parent().filter(|folder| !self.folders.contains(*folder)) {
            if !folder.exists() {
                std::fs::create_dir_all(folder).map_err(io("create", folder))?;
            }
            self.folders.extend(folder.ancestors().take(MOST_GROUPS).map(Path::to_owned));
        }
        let mut file = File::create(&path).map_err(io("create", &path))?;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        file.write_all(&bytes).map_err(io("write", &path))?;
        if self.files.len() <= Self::FEW {
            self.files.push((path, file));
        }
        Ok(())
    }

    fn sync(&self, log: &Path) -> Result<(), LogFault> {
        if self.files.len() > Self::FEW {
            let folder = File::open(log).map_err(io("open", log))?;
            return rustix::fs::syncfs(&folder).map_err(|errno| io("flush", log)(errno.into()));
        }
        for (path, file) in &self.files {
            file.sync_data().map_err(io("write", path))?;
        }
        for folder in self.folders.iter().filter(|folder| folder.starts_with(log)) {
            File::open(folder).and_then(|file| file.sync_all()).map_err(io("sync", folder))?;
        }
        Ok(())
    }
}
