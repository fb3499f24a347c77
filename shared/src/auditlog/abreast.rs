//! The tree's hashes, two abreast: a block of each in turn. SHA-256 is a chain in which every step waits for the one before,
//! so a processor with room for several steps gets through two chains in little more than the time of one.

use sha2::block_api::compress256;

use super::tree::Hash;

/// Chains that are computed in turn. More gain nothing where there are instructions for SHA-256: two keep them busy.
pub(super) const ABREAST: usize = 2;
/// Bytes of one block.
const BLOCK: usize = 64;
/// Bytes at the end that hold the text's length.
const LENGTH: usize = 8;
/// What the state of SHA-256 begins with.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// What stands before a line.
const LEAF: u8 = 0;
/// What stands before two hashes.
const NODE: u8 = 1;

/// One prefixed text as blocks: the first with the prefix, those that lie in the text, and those that its end makes.
struct Blocks<'t> {
    first: Option<[u8; BLOCK]>,
    whole: &'t [[u8; BLOCK]],
    end: [[u8; BLOCK]; 2],
    count: usize,
}

impl<'t> Blocks<'t> {
    const NONE: Self = Self { first: None, whole: &[], end: [[0; BLOCK]; 2], count: 0 };

    /// In its place, so that nothing is copied twice.
    fn fill(&mut self, prefix: u8, text: &'t [u8]) {
        let flat = self.end.as_flattened_mut();
        let used = match text.split_first_chunk::<{ BLOCK - 1 }>() {
            Some((begin, after)) => {
                let first = self.first.insert([prefix; BLOCK]);
                first[1..].copy_from_slice(begin);
                let (whole, rest) = after.as_chunks::<BLOCK>();
                flat[..rest.len()].copy_from_slice(rest);
                self.whole = whole;
                rest.len()
            }
            None => {
                flat[0] = prefix;
                flat[1..=text.len()].copy_from_slice(text);
                text.len() + 1
            }
        };
        flat[used] = 0x80;
        let ends = if used < BLOCK - LENGTH { 1 } else { 2 };
        let bits = (text.len() as u64 + 1) * 8;
        flat[ends * BLOCK - LENGTH..ends * BLOCK].copy_from_slice(&bits.to_be_bytes());
        self.count = usize::from(self.first.is_some()) + self.whole.len() + ends;
    }

    fn block(&self, at: usize) -> &[u8; BLOCK] {
        let at = match &self.first {
            Some(first) if at == 0 => return first,
            Some(_) => at - 1,
            None => at,
        };
        self.whole.get(at).unwrap_or_else(|| &self.end[at - self.whole.len()])
    }
}

fn digests<const N: usize>(prefix: u8, texts: [&[u8]; N]) -> [Hash; N] {
    let mut blocks = [const { Blocks::NONE }; N];
    blocks.iter_mut().zip(texts).for_each(|(blocks, text)| blocks.fill(prefix, text));
    let mut states = [START; N];
    let most = blocks.iter().map(|text| text.count).max().unwrap_or(0);
    for at in 0..most {
        for (state, text) in states.iter_mut().zip(&blocks) {
            if at < text.count {
                compress256(state, std::slice::from_ref(text.block(at)));
            }
        }
    }
    states.map(|state| {
        let mut hash = [0; 32];
        for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        Hash(hash)
    })
}

/// Appends the leaf of every line, in their order.
pub(super) fn leaves(lines: &[&[u8]], into: &mut Vec<Hash>) {
    let (many, rest) = lines.as_chunks::<ABREAST>();
    for lines in many {
        into.extend(digests(LEAF, *lines));
    }
    for line in rest {
        into.extend(digests(LEAF, [*line]));
    }
}

/// The nodes above these pairs.
fn nodes<const N: usize>(pairs: [[Hash; 2]; N]) -> [Hash; N] {
    let texts = pairs.map(|[left, right]| {
        let mut text = [0; BLOCK];
        text[..32].copy_from_slice(&left.0);
        text[32..].copy_from_slice(&right.0);
        text
    });
    digests(NODE, texts.each_ref().map(<[u8; BLOCK]>::as_slice))
}

/// The node above two others.
pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    let [hash] = nodes([[*left, *right]]);
    hash
}

/// Root of the perfect tree over a power of two of hashes, whose room is used up; `None` over none.
pub(super) fn perfect(mut level: Vec<Hash>) -> Option<Hash> {
    while level.len() > 1 {
        let (pairs, mut pair) = (level.len() / 2, 0);
        while pair + ABREAST <= pairs {
            let above = nodes::<ABREAST>(std::array::from_fn(|k| [level[2 * (pair + k)], level[2 * (pair + k) + 1]]));
            level[pair..pair + ABREAST].copy_from_slice(&above);
            pair += ABREAST;
        }
        for pair in pair..pairs {
            level[pair] = node(&level[2 * pair], &level[2 * pair + 1]);
        }
        level.truncate(pairs);
    }
    level.pop()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn plain(prefix: u8, text: &[u8]) -> Hash {
        Hash(Sha256::new().chain_update([prefix]).chain_update(text).finalize().into())
    }

    #[test]
    fn texts_of_every_length_hash_as_everywhere() {
        let bytes: Vec<u8> = (0..400_u32).map(|n| (n * 7) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(digests(LEAF, [&bytes[..length]]), [plain(0, &bytes[..length])], "{length}");
        }
    }

    proptest! {
        #[test]
        fn lines_abreast_hash_like_lines_alone(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..14),
        ) {
            let texts: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let mut hashes = Vec::new();
            leaves(&texts, &mut hashes);
            let alone: Vec<Hash> = lines.iter().map(|line| plain(0, line)).collect();
            prop_assert_eq!(hashes, alone);
        }
    }

    #[test]
    fn a_perfect_tree_has_the_root_of_its_pairs() {
        let hashes: Vec<Hash> = (0..256_u32).map(|n| plain(0, &n.to_be_bytes())).collect();
        for power in 0..=8 {
            let mut level = hashes[..1 << power].to_vec();
            let root = perfect(level.clone());
            while level.len() > 1 {
                level = level.chunks_exact(2).map(|p| plain(1, &[p[0].0, p[1].0].concat())).collect();
            }
            assert_eq!(root, level.pop());
        }
        assert_eq!(perfect(Vec::new()), None);
    }
}
