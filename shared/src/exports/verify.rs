//! Is what is in an archive what the deployment signed? Needs no database and no network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{ExportedFile, Manifest, note_text};
use super::{MANIFEST, SIGNATURE};
use crate::auditlog::note::{NoteFault, VerifyingKey, open_text};

/// Bytes that are hashed at a time.
const PIECE: usize = 64 << 10;
/// Most bytes of a manifest or a signature: two million files.
const LONGEST_HEAD: u64 = 512 << 20;

/// An archive could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// It cannot be read, or is neither a tar file nor a folder.
    #[error("cannot read {path}: it has to be an archive as it was downloaded, or the folder that it was unpacked to")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Stable name.
    pub fault: &'static str,
    /// The file.
    pub file: String,
}

impl Trouble {
    /// Exit code of its class: 1 altered, 2 missing, 3 signature or key.
    pub fn class(&self) -> u8 {
        match self.fault {
            "file-missing" | "manifest-missing" | "signature-missing" | "cut-off" => 2,
            "unknown-key" | "signature-wrong" | "signature-malformed" => 3,
            _ => 1,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// The manifest, if it can be read.
    pub manifest: Option<Manifest>,
    /// Files that are as the manifest lists them.
    pub files: u64,
    /// Their rows.
    pub rows: i64,
    /// Everything that is wrong, in the order in which it was found.
    pub troubles: Vec<Trouble>,
}

impl Findings {
    /// The exit code: that of the first class of 3, 1, 2 that there is; 0 for a valid archive.
    pub fn exit(&self) -> u8 {
        [3, 1, 2].into_iter().find(|class| self.troubles.iter().any(|trouble| trouble.class() == *class)).unwrap_or(0)
    }

    fn note(&mut self, fault: &'static str, file: &str) {
        self.troubles.push(Trouble { fault, file: file.to_owned() });
    }
}

/// Size, hash and rows of a file.
struct Seen {
    bytes: i64,
    sha256: String,
    rows: i64,
}

/// What is gathered on the way through the files, in whatever order they come.
#[derive(Default)]
struct Gathered {
    manifest: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    files: BTreeMap<String, Seen>,
    twice: Vec<String>,
    cut_off: Option<String>,
}

/// Compares an archive, a tar file or the folder that it was unpacked to, with its manifest and the manifest with this key.
///
/// # Errors
/// [`ArchiveFault`].
pub fn verify_archive(path: &Path, key: &VerifyingKey) -> Result<Findings, ArchiveFault> {
    let gathered = if path.is_dir() { of_folder(path)? } else { of_tar(path)? };
    let mut found = Findings::default();
    if let Some(file) = &gathered.cut_off {
        found.note("cut-off", file);
    }
    for file in &gathered.twice {
        found.note("file-twice", file);
    }
    let Some(bytes) = &gathered.manifest else {
        found.note("manifest-missing", MANIFEST);
        return Ok(found);
    };
    match serde_json::from_slice::<Manifest>(bytes) {
        Ok(manifest) => {
            signed(&mut found, &manifest, bytes, gathered.signature.as_deref(), key);
            compare(&mut found, &manifest, gathered.files);
            found.manifest = Some(manifest);
        }
        Err(_) => found.note("manifest-malformed", MANIFEST),
    }
    Ok(found)
}

fn signed(found: &mut Findings, manifest: &Manifest, bytes: &[u8], signature: Option<&[u8]>, key: &VerifyingKey) {
    let Some(signature) = signature else {
        found.note("signature-missing", SIGNATURE);
        return;
    };
    let keys = std::slice::from_ref(key);
    match std::str::from_utf8(signature).map(|note| open_text(note, keys)) {
        Ok(Ok((text, _))) if text == note_text(manifest.export_id, bytes) => {}
        Ok(Ok(_)) => found.note("manifest-altered", MANIFEST),
        Ok(Err(NoteFault::UnknownKey(_))) => found.note("unknown-key", SIGNATURE),
        Ok(Err(NoteFault::Signature(_))) => found.note("signature-wrong", SIGNATURE),
        Ok(Err(_)) | Err(_) => found.note("signature-malformed", SIGNATURE),
    }
}

fn compare(found: &mut Findings, manifest: &Manifest, mut files: BTreeMap<String, Seen>) {
    for file in &manifest.files {
        match files.remove(&file.name) {
            None => found.note("file-missing", &file.name),
            Some(seen) if fits(file, &seen) => {
                found.files += 1;
                found.rows += seen.rows;
            }
            Some(_) => found.note("file-altered", &file.name),
        }
    }
    for name in files.keys() {
        found.note("file-foreign", name);
    }
}

fn fits(file: &ExportedFile, seen: &Seen) -> bool {
    file.bytes == seen.bytes && file.rows == seen.rows && file.sha256 == seen.sha256
}

fn of_tar(path: &Path) -> Result<Gathered, ArchiveFault> {
    let fault = |source| ArchiveFault::Unreadable { path: path.display().to_string(), source };
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(fault)?));
    let mut gathered = Gathered::default();
    let mut first = true;
    for entry in archive.entries().map_err(fault)? {
        // A file that begins otherwise is no archive at all; one that breaks off later is one with less in it.
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(source) if first => return Err(fault(source)),
            Err(_) => {
                gathered.cut_off = Some(path.display().to_string());
                break;
            }
        };
        first = false;
        let name = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
        let name = name.split_once('/').map_or(name.as_str(), |(_, rest)| rest).to_owned();
        if !entry.header().entry_type().is_file() {
            gathered.files.insert(name, Seen { bytes: 0, sha256: String::new(), rows: 0 });
            continue;
        }
        let size = entry.size();
        if gathered.take(&name, size, &mut entry).is_err() {
            gathered.cut_off = Some(name);
            break;
        }
    }
    Ok(gathered)
}

fn of_folder(root: &Path) -> Result<Gathered, ArchiveFault> {
    let mut gathered = Gathered::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let fault = |source| ArchiveFault::Unreadable { path: folder.display().to_string(), source };
        for entry in std::fs::read_dir(&folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            let fault = |source| ArchiveFault::Unreadable { path: path.display().to_string(), source };
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let mut file = File::open(&path).map_err(fault)?;
            let size = file.metadata().map_err(fault)?.len();
            gathered.take(&name, size, &mut file).map_err(fault)?;
        }
    }
    Ok(gathered)
}

impl Gathered {
    /// Reads one file to its end.
    fn take(&mut self, name: &str, size: u64, from: &mut impl Read) -> std::io::Result<()> {
        if let MANIFEST | SIGNATURE = name {
            let slot = if name == MANIFEST { &mut self.manifest } else { &mut self.signature };
            let mut bytes = Vec::new();
            from.take(LONGEST_HEAD).read_to_end(&mut bytes)?;
            whole(bytes.len() as u64, size)?;
            if slot.replace(bytes).is_some() {
                self.twice.push(name.to_owned());
            }
            return Ok(());
        }
        let (mut hash, mut bytes, mut rows) = (Sha256::new(), 0_u64, 0_i64);
        let mut piece = vec![0; PIECE];
        loop {
            let read = from.read(&mut piece)?;
            if read == 0 {
                break;
            }
            hash.update(&piece[..read]);
            bytes += read as u64;
            rows += memchr::memchr_iter(b'\n', &piece[..read]).count() as i64;
        }
        whole(bytes, size)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let seen = Seen { bytes, sha256: hex::encode(hash.finalize()), rows };
        if self.files.insert(name.to_owned(), seen).is_some() {
            self.twice.push(name.to_owned());
        }
        Ok(())
    }
}

fn whole(read: u64, size: u64) -> std::io::Result<()> {
    if read == size { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::auditlog::SigningKey;
    use crate::exports::{ExportedTable, Subject, sealed_note};

    fn manifest(content: &[u8]) -> Manifest {
        let file = ExportedFile {
            name: "data/000000-app.t.jsonl".into(),
            table: "app.t".into(),
            rows: 2,
            bytes: content.len() as i64,
            sha256: hex::encode(Sha256::digest(content)),
            read_at: "2026-01-01T00:00:00.000000Z".into(),
        };
        let table = ExportedTable {
            table: "app.t".into(),
            rows: 0,
            columns: vec!["id".into()],
            excused: Vec::new(),
            key_columns: vec!["id".into()],
        };
        Manifest {
            deployment: "x".into(),
            export_id: Uuid::nil(),
            org_id: "acme".into(),
            scope: Subject::Org,
            user_id: None,
            requested_at: String::new(),
            began_at: String::new(),
            finished_at: String::new(),
            no_snapshot: String::new(),
            how_to_check: String::new(),
            not_here: String::new(),
            rows: 0,
            bytes: 0,
            tables: vec![table],
            left_out: Vec::new(),
            files: vec![file],
        }
        .complete()
    }

    const CONTENT: &[u8] = b"{\"id\":1}\n{\"id\":2}\n";

    /// An unpacked archive, changed by whoever wants to, and what is found.
    fn judged(change: impl FnOnce(&Path)) -> (Vec<&'static str>, u8) {
        let key = SigningKey::generate("x/exports").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bytes = manifest(CONTENT).render().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join(MANIFEST), &bytes).unwrap();
        std::fs::write(folder.path().join(SIGNATURE), sealed_note(&key, Uuid::nil(), &bytes)).unwrap();
        std::fs::write(folder.path().join("data/000000-app.t.jsonl"), CONTENT).unwrap();
        change(folder.path());
        let found = verify_archive(folder.path(), &key.verifying()).unwrap();
        (found.troubles.iter().map(|trouble| trouble.fault).collect(), found.exit())
    }

    #[test]
    fn whatever_is_done_to_an_archive_has_its_name() {
        let file = "data/000000-app.t.jsonl";
        assert_eq!(judged(|_| {}), (vec![], 0));
        let write = |name: &'static str, text: &'static str| {
            move |folder: &Path| std::fs::write(folder.join(name), text).unwrap()
        };
        let remove = |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
        assert_eq!(judged(write(file, "{\"id\":1}\n{\"id\":3}\n")), (vec!["file-altered"], 1));
        assert_eq!(judged(write("data/more.jsonl", "")), (vec!["file-foreign"], 1));
        assert_eq!(judged(remove(file)), (vec!["file-missing"], 2));
        assert_eq!(judged(remove(MANIFEST)), (vec!["manifest-missing"], 2));
        assert_eq!(judged(remove(SIGNATURE)), (vec!["signature-missing"], 2));
        assert_eq!(judged(write(SIGNATURE, "x")), (vec!["signature-malformed"], 3));
        assert_eq!(judged(write(MANIFEST, "{}")), (vec!["manifest-malformed"], 1));
        let other = judged(|folder| {
            let key = SigningKey::generate("y/exports").unwrap();
            let bytes = std::fs::read(folder.join(MANIFEST)).unwrap();
            std::fs::write(folder.join(SIGNATURE), sealed_note(&key, Uuid::nil(), &bytes)).unwrap();
        });
        assert_eq!(other, (vec!["unknown-key"], 3));
        let altered = judged(|folder| {
            let text = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
            std::fs::write(folder.join(MANIFEST), text.replace("acme", "evil")).unwrap();
        });
        assert_eq!(altered, (vec!["manifest-altered"], 1));
    }
}
