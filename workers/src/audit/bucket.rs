//! Checkpoints as objects of a bucket.

use millrace::auditlog::Sealed;
use millrace::config::Bucket;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, RetryConfig};
use secrecy::ExposeSecret;

/// Writes one object a checkpoint, named by size and time. A copy that is made again has the same name and the same bytes.
pub(super) async fn put(bucket: &Bucket, newest: &Sealed) -> object_store::Result<()> {
    let name = format!("{:020}-{}", newest.size, newest.time.unix());
    let path = Path::from_iter(bucket.prefix.split('/').filter(|part| !part.is_empty()).chain([name.as_str()]));
    open(bucket)?.put(&path, PutPayload::from(newest.note.as_bytes().to_vec())).await?;
    Ok(())
}

fn open(bucket: &Bucket) -> object_store::Result<AmazonS3> {
    // Without a key of its own the host's rights count, as the environment or the cloud gives them.
    let mut builder = match &bucket.login {
        Some((id, secret)) => {
            AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.expose_secret())
        }
        None => AmazonS3Builder::from_env(),
    };
    if let Some(endpoint) = &bucket.endpoint {
        let plain = endpoint.scheme() == "http";
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/')).with_allow_http(plain);
    }
    // Whoever copies tries again by itself.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    builder.with_bucket_name(&bucket.name).with_region(&bucket.region).with_retry(retry).build()
}
