//! Compression of closed segments.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::durable::sync_folder_of;
use super::fault::{LogFault, io};

/// The level that costs least for what it saves: lines are alike.
const LEVEL: i32 = 3;
/// Bytes between two looks whether to stop.
const PIECE: usize = 1 << 20;

/// Compresses a closed segment; the raw file goes when the compressed one is durable. Told to stop, it leaves everything
/// as it was.
pub(super) fn pack(raw: &Path, packed: &Path, stop: &AtomicBool) -> Result<(), LogFault> {
    if !packed.exists() {
        // Retention may have dropped it.
        if !raw.exists() {
            return Ok(());
        }
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
