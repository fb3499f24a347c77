//! The archive as a tar file, made on the way out: its length is known before its first byte, and no more than a piece of an
//! object is held at a time.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use uuid::Uuid;

use super::store::{ExportStore, StoreFault};

/// Size of everything in a tar file.
const BLOCK: u64 = 512;
/// Two empty blocks end it.
const END: u64 = 2 * BLOCK;
/// Whoever unpacks it may read the files, and nobody else.
const MODE: u32 = 0o600;

/// One file of an archive.
#[derive(Debug, Clone)]
pub enum Part {
    /// What stands in the store.
    Object {
        /// Name in the archive.
        name: String,
        /// Name in the store.
        object: String,
        /// Bytes.
        bytes: u64,
    },
    /// What is at hand.
    Text {
        /// Name in the archive.
        name: String,
        /// The file.
        text: String,
    },
}

impl Part {
    fn name(&self) -> &str {
        match self {
            Self::Object { name, .. } | Self::Text { name, .. } => name,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Object { bytes, .. } => *bytes,
            Self::Text { text, .. } => text.len() as u64,
        }
    }
}

/// An archive that can be sent.
#[derive(Debug)]
pub struct Archive {
    /// Folder of every file in it.
    folder: String,
    parts: Vec<Part>,
    store: ExportStore,
    /// Time of every file, in unix seconds.
    time: u64,
}

impl Archive {
    /// The archive of an export; files stand in it in this order.
    pub fn new(export: Uuid, time: u64, parts: Vec<Part>, store: ExportStore) -> Self {
        Self { folder: format!("export-{export}"), parts, store, time }
    }

    /// The name that a file of it should have.
    pub fn file_name(&self) -> String {
        format!("{}.tar", self.folder)
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| BLOCK + part.bytes() + padding(part.bytes())).sum::<u64>() + END
    }

    /// The file, a piece at a time.
    pub fn stream(self) -> BoxStream<'static, Result<Bytes, StoreFault>> {
        let Self { folder, parts, store, time } = self;
        let parts = stream::iter(parts).then(move |part| {
            let (store, path) = (store.clone(), format!("{folder}/{}", part.name()));
            async move {
                let size = part.bytes();
                let header = header(&path, size, time)?;
                let content = match part {
                    Part::Object { object, bytes, .. } => store.read(&object, bytes).await?,
                    Part::Text { text, .. } => one(text.into_bytes()),
                };
                let padding = vec![0; usize::try_from(padding(size)).unwrap_or_default()];
                Ok::<_, StoreFault>(one(header).chain(content).chain(one(padding)))
            }
        });
        parts.try_flatten().chain(one(vec![0; END as usize])).boxed()
    }
}

fn one(bytes: Vec<u8>) -> BoxStream<'static, Result<Bytes, StoreFault>> {
    stream::once(std::future::ready(Ok(Bytes::from(bytes)))).boxed()
}

fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK) - bytes
}

fn header(path: &str, bytes: u64, time: u64) -> Result<Vec<u8>, StoreFault> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(|fault| StoreFault::Away(fault.into()))?;
    header.set_size(bytes);
    header.set_mode(MODE);
    header.set_mtime(time);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExportStoreConfig;

    #[tokio::test]
    async fn an_archive_is_as_long_as_it_says_and_any_tar_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let store = ExportStore::new(&ExportStoreConfig::Folder(root.path().to_owned())).unwrap();
        let mut parts = vec![Part::Text { name: "manifest.json".into(), text: "{}".into() }];
        for (number, size) in [0, 1, 511, 512, 513, 40_000].into_iter().enumerate() {
            store.write(&format!("x/{number}"), vec![b'a'; size]).await.unwrap();
            let (name, object) = (format!("data/t-{number}.jsonl"), format!("x/{number}"));
            parts.push(Part::Object { name, object, bytes: size as u64 });
        }
        let archive = Archive::new(Uuid::nil(), 1, parts.clone(), store);
        let length = archive.length();
        let bytes: Vec<Bytes> = archive.stream().try_collect().await.unwrap();
        let bytes = bytes.concat();
        assert_eq!(bytes.len() as u64, length);
        let mut read = tar::Archive::new(bytes.as_slice());
        let found: Vec<(String, u64)> = read
            .entries()
            .unwrap()
            .map(|entry| entry.map(|e| (e.path().unwrap().display().to_string(), e.size())).unwrap())
            .collect();
        let wanted: Vec<_> =
            parts.iter().map(|p| (format!("export-{}/{}", Uuid::nil(), p.name()), p.bytes())).collect();
        assert_eq!(found, wanted);
    }
}
