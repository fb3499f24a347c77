//! Archives of a tenant's data: where their parts are kept, the manifest that lists them, and how anybody checks one offline.
//!
//! An archive is one tar file. `manifest.json` comes first and lists every other file with its size and SHA-256;
//! `manifest.sig` is a signed note (<https://c2sp.org/signed-note>) with the manifest's SHA-256. The parts stay apart in the store
//! until somebody fetches them, so that neither writing nor sending one holds more than a page of it in memory.

mod archive;
mod manifest;
mod store;
mod verify;

use std::time::Duration;

pub use archive::{Archive, Part};
pub use manifest::{Column, ExportedFile, ExportedTable, LeftOut, Manifest, Subject, part_name, sealed_note};
pub use store::{ExportStore, StoreFault};
pub use verify::{ArchiveFault, Findings, Trouble, verify_archive};

/// The manifest's name in an archive.
pub const MANIFEST: &str = "manifest.json";
/// The name of its signature.
pub const SIGNATURE: &str = "manifest.sig";
/// How long an export can be fetched, and how long one that never ends is kept.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
