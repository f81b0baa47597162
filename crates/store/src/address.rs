//! From an address to a backend.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::credentials::Settings;
use crate::error::{Result, StoreError};
use crate::key::check_path;
use crate::local::{Durability, LocalFiles};
use crate::mask;
use crate::remote::Remote;
use crate::secrets::Secrets;
use crate::store::Store;

/// Opens `address`; see [`Store::open`].
pub(crate) fn open(address: &str) -> Result<Store> {
    let fault = |reason: String| StoreError::Address { address: mask(address), reason };
    let Some((scheme, rest)) = address.split_once("://") else {
        return local(PathBuf::from(address), address);
    };
    match scheme {
        "file" => local(PathBuf::from(rest), address),
        "s3" | "memory" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_end_matches('/');
            if !prefix.is_empty() {
                check_path(prefix)?;
            }
            let remote = if scheme == "s3" {
                if bucket.is_empty() {
                    return Err(fault("a bucket is missing: write s3://BUCKET/PREFIX".into()));
                }
                amazon(bucket, &fault)?
            } else {
                Remote::new(memory(bucket), format!("memory://{bucket}"), Secrets::default())
            };
            Ok(Store::remote(remote, prefix))
        }
        "gs" | "az" => Err(fault(format!("{scheme}:// is not built into this program; use s3://, file:// or a path"))),
        other => Err(fault(format!("unknown scheme {other}://; use s3://, file:// or a path"))),
    }
}

fn local(path: PathBuf, address: &str) -> Result<Store> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::Address { address: address.to_owned(), reason: "it is empty".into() });
    }
    let path = std::path::absolute(&path).map_err(|source| StoreError::io("resolve", path.display(), source))?;
    Ok(Store::local(LocalFiles::new(path, Durability::default())))
}

/// Named stores that live as long as the process.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: OnceLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(stores.entry(name.to_owned()).or_default()) as Arc<dyn ObjectStore>
}

fn amazon(bucket: &str, fault: &dyn Fn(String) -> StoreError) -> Result<Remote> {
    let settings = Settings::read();
    let mut secrets = Secrets::default();
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries());
    if let (Some(id), Some(key)) = (&settings.access_key_id, &settings.secret_access_key) {
        secrets.add(key);
        builder = builder.with_access_key_id(id).with_secret_access_key(key);
    }
    if let Some(token) = &settings.session_token {
        secrets.add(token);
        builder = builder.with_token(token);
    }
    builder = builder.with_region(settings.region.as_deref().unwrap_or("us-east-1"));
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let timeouts = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout(Duration::from_secs(120))
        .with_allow_http(settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    let store =
        builder.with_client_options(timeouts).build().map_err(|error| fault(secrets.mask(&error.to_string())))?;
    Ok(Remote::new(Arc::new(store), format!("s3://{bucket}"), secrets))
}

/// Transient faults: at most 10 tries within 180 s, 100 ms to 15 s apart.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(15),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(180),
    }
}
