//! Each tenant's sequence: numbers without a gap, and every line naming the one before.

use std::collections::{HashMap, HashSet};

use super::super::tree::Hash;
use super::fault::Fault;
use super::scan::Scanned;

/// The last line of a tenant.
#[derive(Debug)]
struct Head {
    seq: u64,
    /// Its leaf hash in hex, as the next line has to name it.
    hash: [u8; 64],
    index: u64,
}

/// All tenants' heads.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    heads: HashMap<Box<[u8]>, Head>,
    /// Hashes of predecessors that retention must have dropped: each has to stand in the tree before this index.
    dropped: HashMap<Hash, u64>,
}

impl Tenants {
    /// Takes the next confirmed line. `damaged` is the end of the last range in which lines are missing or altered: a
    /// tenant whose head is older may have lost lines there, which is reported once, as that range.
    pub(super) fn follow(
        &mut self,
        line: &Scanned<'_>,
        index: u64,
        leaf: &Hash,
        pruned: bool,
        damaged: u64,
    ) -> Result<(), (Fault, String)> {
        let Some(head) = self.heads.get_mut(line.org_id) else {
            let mut hash = [0; 64];
            encode(leaf, &mut hash);
            self.heads.insert(line.org_id.into(), Head { seq: line.tenant_seq, hash, index });
            return self.first(line, index, pruned, damaged);
        };
        // In its place: digits that are read again at once would have to wait until they are written.
        let (seq, last, is_named) = (head.seq, head.index, head.hash == *line.prev_hash);
        (head.seq, head.index) = (line.tenant_seq, index);
        encode(leaf, &mut head.hash);
        if seq.checked_add(1) == Some(line.tenant_seq) && is_named {
            return Ok(());
        }
        if last < damaged {
            return Ok(());
        }
        if seq.checked_add(1) != Some(line.tenant_seq) {
            return Err((
                Fault::SequenceBroken,
                format!("number {} follows {seq} of the same tenant, whose line is {last}", line.tenant_seq),
            ));
        }
        let text = format!("line {index} does not name line {last}, the one before it of the same tenant");
        Err((Fault::PreviousHashWrong, text))
    }

    fn first(&mut self, line: &Scanned<'_>, index: u64, pruned: bool, damaged: u64) -> Result<(), (Fault, String)> {
        let zeros = line.prev_hash.iter().all(|b| *b == b'0');
        if line.tenant_seq == 1 && zeros {
            return Ok(());
        }
        let prev = std::str::from_utf8(line.prev_hash).ok().and_then(|text| text.parse::<Hash>().ok());
        match prev {
            Some(prev) if pruned && line.tenant_seq > 1 => {
                self.dropped.insert(prev, index);
                Ok(())
            }
            _ if damaged > 0 => Ok(()),
            _ => Err((Fault::SequenceBroken, format!("a tenant's first line has number {}", line.tenant_seq))),
        }
    }

    /// How many tenants there are.
    pub(super) fn count(&self) -> u64 {
        self.heads.len() as u64
    }

    /// Predecessors that were dropped.
    pub(super) fn dropped(&self) -> HashSet<Hash> {
        self.dropped.keys().copied().collect()
    }

    /// The line that named this predecessor.
    pub(super) fn named_by(&self, hash: &Hash) -> Option<u64> {
        self.dropped.get(hash).copied()
    }
}

/// Hexadecimal digits without a table, so that the compiler can take many at a time.
fn encode(hash: &Hash, into: &mut [u8; 64]) {
    let digit = |nibble: u8| nibble + b'0' + if nibble > 9 { b'a' - b'0' - 10 } else { 0 };
    for (pair, byte) in into.as_chunks_mut::<2>().0.iter_mut().zip(hash.0) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_everybody_else() {
        let hash = Hash(std::array::from_fn(|i| (i * 37 + 5) as u8));
        let mut text = [0; 64];
        encode(&hash, &mut text);
        assert_eq!(std::str::from_utf8(&text), Ok(hash.to_string().as_str()));
    }
}
