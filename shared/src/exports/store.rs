//! Where exports are kept: a folder, or a bucket. The only place that names the crate `object_store`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FolderPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::config::ExportStoreConfig;

/// A folder of exports is its owner's alone: it holds what tenants store.
const FOLDER_MODE: u32 = 0o700;

/// The store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// It holds no such object, or another one than was noted.
    #[error("the object {0} is not in the store, or not as it was written")]
    Missing(String),
    /// It is away, full, or refuses.
    #[error("the store of exports is away or refuses (compliance.export_store)")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreFault {
    fn of(error: Error) -> Self {
        match error {
            Error::NotFound { path, .. } => Self::Missing(path),
            other => Self::Away(Box::new(other)),
        }
    }
}

/// Bytes of an object, as they come.
pub(super) type Bytes = BoxStream<'static, Result<bytes::Bytes, StoreFault>>;

/// The store. Cheap to clone; nothing is dialed or made before it is used.
#[derive(Debug, Clone)]
pub struct ExportStore(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Folder(PathBuf),
    Bucket(Arc<dyn ObjectStore>),
}

impl ExportStore {
    /// Prepares the store of a configuration.
    ///
    /// # Errors
    /// The description of a bucket cannot be used.
    pub fn new(config: &ExportStoreConfig) -> Result<Self, StoreFault> {
        let bucket = match config {
            ExportStoreConfig::Folder(path) => return Ok(Self(Kind::Folder(path.clone()))),
            ExportStoreConfig::S3(bucket) => bucket,
        };
        // Less than a call has: what hangs is away, and is waited for.
        let retry = RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(5), ..RetryConfig::default() };
        let mut builder =
            AmazonS3Builder::from_env().with_retry(retry).with_bucket_name(&bucket.name).with_region(&bucket.region);
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_allow_http(endpoint.scheme() == "http");
        }
        if let Some((id, secret)) = &bucket.login {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        let s3 = builder.build().map_err(StoreFault::of)?;
        Ok(Self(Kind::Bucket(Arc::new(PrefixStore::new(s3, bucket.prefix.as_str())))))
    }

    fn writer(&self) -> Result<Arc<dyn ObjectStore>, StoreFault> {
        if let Kind::Folder(path) = &self.0 {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(|e| StoreFault::Away(e.into()))?;
        }
        self.reader()
    }

    fn reader(&self) -> Result<Arc<dyn ObjectStore>, StoreFault> {
        match &self.0 {
            Kind::Folder(path) => folder(path),
            Kind::Bucket(bucket) => Ok(Arc::clone(bucket)),
        }
    }

    /// Writes an object as a whole; it is durable when this returns, and there at no time in part.
    ///
    /// # Errors
    /// [`StoreFault::Away`].
    pub async fn write(&self, object: &str, content: Vec<u8>) -> Result<(), StoreFault> {
        self.writer()?.put(&Path::from(object), PutPayload::from(content)).await.map_err(StoreFault::of)?;
        Ok(())
    }

    /// An object of so many bytes, a piece at a time.
    ///
    /// # Errors
    /// [`StoreFault`]; also when it has another size.
    pub(super) async fn read(&self, object: &str, bytes: u64) -> Result<Bytes, StoreFault> {
        let found = self.reader()?.get(&Path::from(object)).await.map_err(StoreFault::of)?;
        if found.meta.size != bytes {
            return Err(StoreFault::Missing(object.to_owned()));
        }
        Ok(found.into_stream().map_err(StoreFault::of).boxed())
    }

    /// Is an object of so many bytes there?
    ///
    /// # Errors
    /// [`StoreFault`].
    pub async fn holds(&self, object: &str, bytes: u64) -> Result<(), StoreFault> {
        let found = self.reader()?.head(&Path::from(object)).await.map_err(StoreFault::of)?;
        if found.size == bytes { Ok(()) } else { Err(StoreFault::Missing(object.to_owned())) }
    }

    /// Deletes whatever there is of an export, also what a process that ended on the way has left.
    ///
    /// # Errors
    /// [`StoreFault::Away`].
    pub async fn delete_export(&self, export: Uuid) -> Result<(), StoreFault> {
        if let Kind::Folder(path) = &self.0 {
            // With what a process that was killed while it wrote has left, which the crate never lists.
            return match tokio::fs::remove_dir_all(path.join(export.to_string())).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreFault::Away(error.into())),
                _ => Ok(()),
            };
        }
        let store = self.reader()?;
        let listed = store.list(Some(&Path::from(export.to_string()))).map_ok(|found| found.location).boxed();
        let mut deleted = store.delete_stream(listed);
        while let Some(one) = deleted.next().await {
            match one {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(StoreFault::of(error)),
            }
        }
        Ok(())
    }
}

fn folder(path: &FolderPath) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    let folder = LocalFileSystem::new_with_prefix(path).map_err(StoreFault::of)?;
    Ok(Arc::new(folder.with_automatic_cleanup(true).with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_export_goes_whole_and_takes_nothing_of_another_along() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("exports");
        let store = ExportStore::new(&ExportStoreConfig::Folder(folder.clone())).unwrap();
        let (gone, kept) = (Uuid::from_u128(1), Uuid::from_u128(2));
        store.delete_export(gone).await.unwrap();
        for export in [gone, kept] {
            store.write(&format!("{export}/0"), b"abc".to_vec()).await.unwrap();
        }
        // Written twice it is one object.
        store.write(&format!("{gone}/0"), b"abc".to_vec()).await.unwrap();
        store.holds(&format!("{gone}/0"), 3).await.unwrap();
        assert!(matches!(store.holds(&format!("{gone}/0"), 4).await, Err(StoreFault::Missing(_))));
        store.delete_export(gone).await.unwrap();
        assert!(matches!(store.holds(&format!("{gone}/0"), 3).await, Err(StoreFault::Missing(_))));
        let read: Vec<_> = store.read(&format!("{kept}/0"), 3).await.unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), b"abc");
        store.delete_export(kept).await.unwrap();
        store.delete_export(kept).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_a_store_that_is_away() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let store = ExportStore::new(&ExportStoreConfig::Folder(file.join("exports"))).unwrap();
        assert!(matches!(store.write("x/0", vec![1]).await, Err(StoreFault::Away(_))));
    }
}
