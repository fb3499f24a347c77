//! The Merkle tree of RFC 6962, section 2.1: hashes, the compact form of a growing tree, proofs and their verification.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::abreast;

/// A SHA-256 hash of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands in the place of the hash of a tenant's line before the first.
    pub const ZERO: Self = Self([0; 32]);

    /// As checkpoints and proofs write it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] wrote; any other form is `None`.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Hash {
    type Err = hex::FromHexError;

    /// 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// The leaf of a stored line, which comes without its line feed: SHA-256(0x00 ‖ line).
pub fn leaf(line: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(line).finalize().into())
}

/// The node above two others: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    abreast::node(left, right)
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The compact form of a tree: the roots of its complete subtrees, from the left and largest to the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree without leaves.
    pub fn empty() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// A tree whose [`Frontier::peaks`] were kept; `None` when a tree of that size has another number of them.
    pub fn from_hashes(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, from left to right: one for each bit of the size.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.join(leaf, 0);
    }

    /// Appends leaves, of which whole subtrees cost less than one leaf after another.
    pub fn extend(&mut self, mut leaves: &[Hash]) {
        while let Some(most) = leaves.len().checked_ilog2() {
            let level = self.size.trailing_zeros().min(most);
            let (here, after) = leaves.split_at(1 << level);
            if let Some(root) = abreast::perfect(here.to_vec()) {
                self.join(root, level);
            }
            leaves = after;
        }
    }

    /// Appends a complete subtree, which may stand at this place.
    fn join(&mut self, root: Hash, level: u32) {
        let mut hash = root;
        // Every trailing one of the size is a complete subtree that the new one completes to a larger one.
        for _ in 0..(self.size >> level).trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1 << level;
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node(&left, &right))
    }
}

impl Default for Frontier {
    fn default() -> Self {
        Self::empty()
    }
}

/// Where hashes of complete subtrees come from: tiles in a folder, or a list in memory.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Fault;

    /// The root of the leaves `[index << level, (index + 1) << level)`, all of which exist.
    ///
    /// # Errors
    /// The source's own.
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, Self::Fault>;
}

/// The root of the leaves `[from, to)` as RFC 6962 defines it for a list of its own; `from` is a multiple of the
/// largest power of two that fits, as in every subtree of a tree.
///
/// # Errors
/// What the source says.
pub fn range_root<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<Hash, N::Fault> {
    let mut roots = Vec::new();
    let mut at = from;
    while at < to {
        let level = (to - at).ilog2();
        roots.push(nodes.hash(level as u8, at >> level)?);
        at += 1 << level;
    }
    let mut roots = roots.into_iter().rev();
    let Some(last) = roots.next() else { return Ok(empty_root()) };
    Ok(roots.fold(last, |right, left| node(&left, &right)))
}

/// The compact form of the first `size` leaves.
///
/// # Errors
/// What the source says.
pub fn frontier<N: Nodes>(nodes: &mut N, size: u64) -> Result<Frontier, N::Fault> {
    let mut peaks = Vec::new();
    let mut at = 0;
    while at < size {
        let level = (size - at).ilog2();
        peaks.push(nodes.hash(level as u8, at >> level)?);
        at += 1 << level;
    }
    Ok(Frontier { size, peaks })
}

/// The largest power of two below `n`, which is at least 2: where RFC 6962 splits a list.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The audit path of RFC 6962, section 2.1.1, from the leaf upward. `index` is below `size`.
///
/// # Errors
/// What the source says.
pub fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Fault> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The consistency proof of RFC 6962, section 2.1.2, between the trees of `old` and `new` leaves, `old <= new`.
/// Nothing is to be proved for equal sizes and for an empty old tree.
///
/// # Errors
/// What the source says.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Hash>, N::Fault> {
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(path);
    }
    let (mut from, mut to, mut whole) = (0, new, true);
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range_root(nodes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Is `leaf` at `index` of the tree with this root? RFC 9162, section 2.1.3.2.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut fan, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if fan & 1 == 1 || fan == last {
            hash = node(step, &hash);
            let zeros = if fan == 0 { 0 } else { fan.trailing_zeros() };
            fan >>= zeros;
            last >>= zeros;
        } else {
            hash = node(&hash, step);
        }
        fan >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Is the old tree the beginning of the new one? RFC 9162, section 2.1.4.2.
pub fn verify_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> bool {
    if old >= new || old == 0 {
        let same = old == new && old_root == new_root;
        return proof.is_empty() && (same || (old == 0 && new > 0 && *old_root == empty_root()));
    }
    // A power of two is a complete subtree of the new tree, and the proof leaves its root out.
    let mut steps = old.is_power_of_two().then_some(old_root).into_iter().chain(proof);
    let Some(first) = steps.next() else { return false };
    let ones = (old - 1).trailing_ones();
    let (mut fan, mut last) = ((old - 1) >> ones, (new - 1) >> ones);
    let (mut before, mut after) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if fan & 1 == 1 || fan == last {
            before = node(step, &before);
            after = node(step, &after);
            let zeros = if fan == 0 { 0 } else { fan.trailing_zeros() };
            fan >>= zeros;
            last >>= zeros;
        } else {
            after = node(&after, step);
        }
        fan >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *new_root
}

#[cfg(test)]
mod tests;
