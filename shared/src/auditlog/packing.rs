//! Compression of closed segments.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::durable::sync_folder_of;
use super::fault::{LogFault, io};

/// The level that costs least for what it saves: lines are alike.
const LEVEL: i32 = 3;
/// Bytes between two looks whether to stop.
const PIECE: usize = 1 << 20;

/// Compresses a closed segment; the raw file goes when the compressed one is durable. Told to stop, it leaves everything
/// as it was.
pub(super) fn pack(raw: &Path, packed: &Path, stop: &AtomicBool) -> Result<(), LogFault> {
    // Retention may have dropped it.
    if !raw.exists() {
        return Ok(());
    }
    if packed.exists() && holds(packed, raw)? {
        // A crash came before the raw file went, and maybe before the name of this one was durable.
        sync_folder_of(packed)?;
    } else {
        let fresh = packed.with_extension("zst.new");
        if !compress(raw, &fresh, stop)? {
            return std::fs::remove_file(&fresh).map_err(io("remove", &fresh));
        }
        std::fs::rename(&fresh, packed).map_err(io("replace", packed))?;
        sync_folder_of(packed)?;
    }
    match std::fs::remove_file(raw) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(io("remove", raw)(fault)),
        _ => Ok(()),
    }
}

/// Has the compressed file the bytes of the raw one?
fn holds(packed: &Path, raw: &Path) -> Result<bool, LogFault> {
    let source = File::open(raw).and_then(digest).map_err(io("read", raw))?;
    let copy = File::open(packed).and_then(zstd::Decoder::new).and_then(digest);
    Ok(copy.is_ok_and(|copy| copy == source))
}

fn digest(mut source: impl Read) -> std::io::Result<[u8; 32]> {
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            length => digest.update(&piece[..length]),
        }
    }
}

/// False when it was stopped on the way.
fn compress(raw: &Path, fresh: &Path, stop: &AtomicBool) -> Result<bool, LogFault> {
    let mut source = File::open(raw).map_err(io("read", raw))?;
    let file = File::create(fresh).map_err(io("create", fresh))?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).map_err(io("write", fresh))?;
    encoder.include_checksum(true).map_err(io("write", fresh))?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = source.read(&mut piece).map_err(io("read", raw))?;
        if length == 0 {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        encoder.write_all(&piece[..length]).map_err(io("write", fresh))?;
    }
    encoder.finish().and_then(|file| file.sync_all()).map_err(io("write", fresh))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_file_goes_only_when_the_compressed_one_has_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, packed) = (folder.path().join("0.jsonl"), folder.path().join("0.jsonl.zst"));
        let whole = zstd::encode_all(b"lines\n".as_slice(), LEVEL).unwrap();
        for copy in
            [Vec::new(), whole[..whole.len() - 1].to_vec(), zstd::encode_all(&b"other"[..], LEVEL).unwrap(), whole]
        {
            std::fs::write(&raw, "lines\n").unwrap();
            std::fs::write(&packed, copy).unwrap();
            pack(&raw, &packed, &AtomicBool::new(false)).unwrap();
            assert!(!raw.exists());
            assert_eq!(zstd::decode_all(File::open(&packed).unwrap()).unwrap(), b"lines\n");
        }
    }
}
