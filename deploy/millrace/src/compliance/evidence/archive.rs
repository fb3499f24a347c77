//! The archive itself: a gzipped tar of plain files, and digests read block by block.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 16;

/// SHA-256 and length of a file.
pub(super) fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let (mut file, mut hash, mut length) = (File::open(path)?, Sha256::new(), 0);
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok((hex::encode(hash.finalize()), length));
        }
        hash.update(&block[..read]);
        length += read as u64;
    }
}

/// Writes the named files of a folder into a new archive; one that is there stays as it is.
pub(super) fn pack<'n>(folder: &Path, names: impl Iterator<Item = &'n str>, out: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(out)?;
    let packed = fill(folder, names, &file);
    if packed.is_err() {
        // Half an archive is none.
        let _ = std::fs::remove_file(out);
    }
    packed
}

fn fill<'n>(folder: &Path, names: impl Iterator<Item = &'n str>, file: &File) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for name in names {
        tar.append_path_with_name(folder.join(name), format!("evidence/{name}"))?;
    }
    tar.into_inner()?.finish()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_written_whole_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "hello").unwrap();
        assert_eq!(digest(&folder.path().join("a")).unwrap().1, 5);
        let out = folder.path().join("out.tar.gz");
        assert!(pack(folder.path(), ["a", "b"].into_iter(), &out).is_err());
        assert!(!out.exists(), "half an archive was left");
        pack(folder.path(), ["a"].into_iter(), &out).unwrap();
        let before = std::fs::read(&out).unwrap();
        assert!(pack(folder.path(), ["a"].into_iter(), &out).is_err());
        assert_eq!(std::fs::read(&out).unwrap(), before);
    }
}
