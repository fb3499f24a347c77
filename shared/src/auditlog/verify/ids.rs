//! Event ids that come twice, among any number of lines in a fixed amount of memory: ids are dealt out to buckets, which
//! are spilled to one file without a name and looked at one after another.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The ids are random, so buckets fill evenly.
const BUCKETS: usize = 256;
/// Ids of a bucket that are kept in memory. All buckets together fit into a processor's cache.
const KEPT: usize = 128;
/// Bytes of an id and its index.
const RECORD: usize = 24;

/// Where ids are gathered.
#[derive(Debug)]
pub(super) struct Ids {
    buckets: Vec<Vec<(u128, u64)>>,
    /// For each bucket where its spilled blocks begin; every block has [`KEPT`] records.
    blocks: Vec<Vec<u64>>,
    spill: Option<File>,
    end: u64,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], blocks: vec![Vec::new(); BUCKETS], spill: None, end: 0 }
    }

    pub(super) fn add(&mut self, id: u128, index: u64) -> std::io::Result<()> {
        // The lowest byte is random in every kind of derived id.
        let bucket = (id & 0xff) as usize;
        self.buckets[bucket].push((id, index));
        if self.buckets[bucket].len() == KEPT { self.spill(bucket) } else { Ok(()) }
    }

    fn spill(&mut self, bucket: usize) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(KEPT * RECORD);
        for (id, index) in self.buckets[bucket].drain(..) {
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&index.to_le_bytes());
        }
        let file = match &mut self.spill {
            Some(file) => file,
            none => none.insert(nameless(&std::env::temp_dir())?),
        };
        file.write_all(&bytes)?;
        self.blocks[bucket].push(self.end);
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Each id that came again, with the index where it did; `limit` of them at most, and how many there are.
    pub(super) fn duplicates(mut self, limit: usize) -> std::io::Result<(Vec<(u128, u64)>, u64)> {
        let (mut found, mut count, mut keys) = (Vec::new(), 0, Vec::new());
        for bucket in 0..BUCKETS {
            let mut records = std::mem::take(&mut self.buckets[bucket]);
            if let Some(file) = &mut self.spill {
                let mut bytes = vec![0; KEPT * RECORD];
                for block in &self.blocks[bucket] {
                    file.seek(SeekFrom::Start(*block))?;
                    file.read_exact(&mut bytes)?;
                    records.extend(bytes.as_chunks::<RECORD>().0.iter().map(record));
                }
            }
            if are_distinct(&records, &mut keys) {
                continue;
            }
            records.sort_unstable();
            for pair in records.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                count += 1;
                if found.len() < limit {
                    found.push(pair[1]);
                }
            }
        }
        found.sort_unstable_by_key(|(_, index)| *index);
        Ok((found, count))
    }
}

/// Are these ids certainly distinct? Half an id sorts faster than a whole one with its index, and two halves are hardly
/// ever alike.
fn are_distinct(records: &[(u128, u64)], keys: &mut Vec<u64>) -> bool {
    keys.clear();
    keys.extend(records.iter().map(|(id, _)| (id >> 64) as u64 ^ *id as u64));
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

fn record(bytes: &[u8; RECORD]) -> (u128, u64) {
    let (mut id, mut index) = ([0; 16], [0; 8]);
    id.copy_from_slice(&bytes[..16]);
    index.copy_from_slice(&bytes[16..]);
    (u128::from_le_bytes(id), u64::from_le_bytes(index))
}

/// A file that is gone when this process is.
fn nameless(folder: &Path) -> std::io::Result<File> {
    let path = folder.join(format!("millrace-verify-{}", hex::encode(rand::random::<[u8; 8]>())));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_found_in_memory_and_on_disk() {
        let mut ids = Ids::new();
        let id = |n: u64| u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        for n in 0..600_000 {
            ids.add(id(n), n).unwrap();
        }
        assert!(ids.spill.is_some());
        ids.add(id(5), 600_000).unwrap();
        ids.add(id(599_999), 600_001).unwrap();
        assert_eq!(ids.duplicates(9).unwrap(), (vec![(id(5), 600_000), (id(599_999), 600_001)], 2));
    }
}
