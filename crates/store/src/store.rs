//! [`Store`]: one place where objects live, and the plain operations on them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use tributary_tensorfile::{MappedFile, ReadAt};

use crate::address::Address;
use crate::credentials::S3Settings;
use crate::directory::StoreDirectory;
use crate::error::{Result, StoreError};
use crate::key::{check_path, join};
use crate::local::{Durability, LocalFiles};
use crate::manifest::MANIFEST;
use crate::memory;
use crate::pointer::Pointer;
use crate::remote::{BUDGET, FIRST_PAUSE, LONGEST_PAUSE, Remote, TRIES};
use crate::remote_object::RemoteObject;
use crate::secrets::{Secrets, mask};
use crate::writer::{ObjectWriter, RegionWriter};

/// Set to `process` to leave local writes to the operating system instead of syncing them ([`Durability`]).
const DURABILITY_VARIABLE: &str = "TRIBUTARY_DURABILITY";

/// Size and name of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key, relative to the store that was asked.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The server's version tag, where it has one.
    pub etag: Option<String>,
}

/// What a conditional create came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object was not there before.
    New,
    /// The object was there with the same bytes (perhaps from an earlier try of ours).
    AlreadyThere,
}

#[derive(Clone)]
pub(crate) enum Backend {
    Local(LocalFiles),
    Remote(Arc<Remote>),
}

/// One place where objects live: a local directory, a bucket with a prefix, or memory.
///
/// Cheap to clone; all calls block and may come from any plain thread. Keys are relative paths
/// ([`crate::check_path`]) below the store's own place.
#[derive(Clone)]
pub struct Store {
    pub(crate) backend: Backend,
    pub(crate) prefix: String,
}

impl Store {
    /// Opens `s3://bucket/prefix`, `file:///path`, a plain path or `memory:///name`. Nothing is read or made yet.
    ///
    /// For S3, credentials and endpoint come from the usual AWS variables (`AWS_ACCESS_KEY_ID`,
    /// `AWS_ENDPOINT_URL_S3`, ...) and from `~/.aws/credentials` and `~/.aws/config` (`AWS_PROFILE`).
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is not understood or its credentials cannot be found.
    pub fn open(url: &str) -> Result<Store> {
        match Address::parse(url)? {
            Address::Local(root) => {
                let durability = match std::env::var(DURABILITY_VARIABLE).as_deref() {
                    Ok("process") => Durability::Process,
                    _ => Durability::Device,
                };
                Ok(Store {
                    backend: Backend::Local(LocalFiles::new(root, durability)),
                    prefix: String::new(),
                })
            }
            Address::Memory { name, prefix } => {
                let label = format!("memory://{name}");
                Ok(Self::remote(
                    memory::named(&name),
                    label,
                    Secrets::default(),
                    false,
                    prefix,
                ))
            }
            Address::S3 { bucket, prefix } => open_s3(url, &bucket, prefix),
        }
    }

    /// A store on any backend that has multipart uploads, called `url` in messages; for tests with faults injected.
    pub fn from_object_store<T: ObjectStore + MultipartStore>(backend: Arc<T>, url: &str) -> Store {
        let mut store = Self::remote(backend, mask(url), Secrets::default(), false, String::new());
        if let Backend::Remote(remote) = &mut store.backend
            && let Some(remote) = Arc::get_mut(remote)
        {
            // Nothing far away to be kind to.
            remote.first_pause = std::time::Duration::from_millis(1);
        }
        store
    }

    fn remote<T: ObjectStore + MultipartStore>(
        backend: Arc<T>,
        label: String,
        secrets: Secrets,
        backend_retries: bool,
        prefix: String,
    ) -> Store {
        let remote = Remote {
            objects: Arc::clone(&backend) as Arc<dyn ObjectStore>,
            multipart: backend,
            label,
            secrets,
            backend_retries,
            first_pause: FIRST_PAUSE,
        };
        Store {
            backend: Backend::Remote(Arc::new(remote)),
            prefix,
        }
    }

    /// The same place with another promise for local writes; no effect on other backends.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Store {
        if let Backend::Local(files) = &mut self.backend {
            files.durability = durability;
        }
        self
    }

    /// The place `path` below this one.
    ///
    /// # Errors
    /// [`StoreError::UnsafePath`].
    pub fn child(&self, path: &str) -> Result<Store> {
        Ok(Store {
            backend: self.backend.clone(),
            prefix: self.full(path)?,
        })
    }

    /// The address, fit for printing: a path, or a URL without credentials.
    pub fn url(&self) -> String {
        match &self.backend {
            Backend::Local(files) => mask(&files.path(&self.prefix).display().to_string()),
            Backend::Remote(remote) if self.prefix.is_empty() => mask(&remote.label),
            Backend::Remote(remote) => remote.at(&self.prefix),
        }
    }

    /// The directory on this machine, if that is what this store is.
    pub fn local_path(&self) -> Option<PathBuf> {
        match &self.backend {
            Backend::Local(files) => Some(files.path(&self.prefix)),
            Backend::Remote(_) => None,
        }
    }

    /// The backend's key for `key`, checked.
    pub(crate) fn full(&self, key: &str) -> Result<String> {
        check_path(key)?;
        let full = join(&self.prefix, key);
        check_path(&full)?;
        Ok(full)
    }

    /// The backend's prefix for `prefix`, which may be empty or end in `/`.
    fn full_prefix(&self, prefix: &str) -> Result<String> {
        let prefix = prefix.trim_end_matches('/');
        let full = join(&self.prefix, prefix);
        if !full.is_empty() {
            check_path(&full)?;
        }
        if !prefix.is_empty() {
            check_path(prefix)?;
        }
        Ok(full)
    }

    /// `key` as a message should name it: credentials masked.
    pub fn describe(&self, key: &str) -> String {
        let full = join(&self.prefix, key);
        match &self.backend {
            Backend::Local(files) => files.path(&full).display().to_string(),
            Backend::Remote(remote) => remote.at(&full),
        }
    }

    /// All bytes of `key`.
    pub fn get(&self, key: &str) -> Result<Bytes> {
        let full = self.full(key)?;
        match &self.backend {
            Backend::Local(files) => files.get(&full),
            Backend::Remote(remote) => remote.get(&full),
        }
    }

    /// The `len` bytes of `key` from `start` on.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] if they do not all lie within it.
    pub fn get_range(&self, key: &str, start: u64, len: usize) -> Result<Bytes> {
        let full = self.full(key)?;
        let size = self
            .head(key)?
            .ok_or_else(|| StoreError::NotFound {
                at: self.describe(key),
            })?
            .size;
        if start.checked_add(len as u64).is_none_or(|end| end > size) {
            let reason = format!("{len} bytes from {start} on do not lie within its {size}");
            return Err(StoreError::misuse(self.describe(key), reason));
        }
        match &self.backend {
            Backend::Local(files) => files.get_range(&full, start, len),
            Backend::Remote(remote) => remote.get_range(&full, start, len),
        }
    }

    /// Size of `key`, or `None` if there is no such object.
    pub fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let full = self.full(key)?;
        let found = match &self.backend {
            Backend::Local(files) => files.head(&full)?,
            Backend::Remote(remote) => remote.head(&full)?,
        };
        Ok(found.map(|meta| ObjectMeta {
            key: key.to_string(),
            ..meta
        }))
    }

    /// All objects below the directory `prefix` (`""` for all), sorted by key; keys are relative to this store.
    pub fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let full = self.full_prefix(prefix)?;
        let mut found = match &self.backend {
            Backend::Local(files) => files.list(&full)?,
            Backend::Remote(remote) => remote.list(&full)?,
        };
        if !self.prefix.is_empty() {
            for meta in &mut found {
                meta.key.drain(..self.prefix.len() + 1);
            }
        }
        Ok(found)
    }

    /// Names directly below the directory `prefix`, sorted; those that have objects below them end in `/`.
    pub fn children(&self, prefix: &str) -> Result<Vec<String>> {
        let full = self.full_prefix(prefix)?;
        match &self.backend {
            Backend::Local(files) => files.children(&full),
            Backend::Remote(remote) => remote.children(&full),
        }
    }

    /// Removes `key`; whether it was there.
    pub fn delete(&self, key: &str) -> Result<bool> {
        let full = self.full(key)?;
        match &self.backend {
            Backend::Local(files) => files.delete(&full),
            Backend::Remote(remote) => remote.delete(&full),
        }
    }

    /// Removes every object of this store, manifests first, so that no artifact is ever seen without its objects.
    pub fn delete_all(&self) -> Result<()> {
        let (manifests, objects): (Vec<ObjectMeta>, Vec<ObjectMeta>) = self
            .list("")?
            .into_iter()
            .partition(|meta| meta.key.rsplit('/').next() == Some(MANIFEST));
        for meta in manifests.iter().chain(&objects) {
            self.delete(&meta.key)?;
        }
        self.prune();
        Ok(())
    }

    /// Removes empty local directories at this place and above; nothing on servers, which have no directories.
    pub(crate) fn prune(&self) {
        if let Backend::Local(files) = &self.backend {
            files.prune(&self.prefix);
        }
    }

    /// Creates or replaces `key` in one step.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let full = self.full(key)?;
        let bytes = bytes.into();
        match &self.backend {
            Backend::Local(files) => files.put(&full, &bytes),
            Backend::Remote(remote) => remote.put(&full, bytes),
        }
    }

    /// Creates `key` unless it is there with other content.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another content is there; it is left as it was.
    pub fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<Created> {
        let full = self.full(key)?;
        let bytes = bytes.into();
        match &self.backend {
            Backend::Local(files) => files.create(&full, &bytes),
            Backend::Remote(remote) => remote.create(&full, bytes),
        }
    }

    /// Random access to `key`: a map of a local file, ranged GETs (large ones in parallel) otherwise.
    pub fn reader(&self, key: &str) -> Result<Arc<dyn ReadAt>> {
        let full = self.full(key)?;
        match &self.backend {
            Backend::Local(files) => {
                let path = files.path(&full);
                if files.head(&full)?.is_none() {
                    return Err(StoreError::NotFound {
                        at: path.display().to_string(),
                    });
                }
                let mapped = MappedFile::open(&path).map_err(|error| StoreError::Backend {
                    action: "map",
                    at: path.display().to_string(),
                    message: error.to_string(),
                    transient: false,
                })?;
                Ok(Arc::new(mapped))
            }
            Backend::Remote(remote) => Ok(Arc::new(RemoteObject::open(remote, &full)?)),
        }
    }

    /// Starts writing `key`; it appears when [`ObjectWriter::finish`] succeeds, and not otherwise.
    pub fn writer(&self, key: &str) -> Result<ObjectWriter> {
        ObjectWriter::begin(self, key)
    }

    /// Starts writing `key`, of `len` bytes, in any order and from several threads; it appears when
    /// [`RegionWriter::finish`](crate::PositionedWriter::finish) succeeds, and not otherwise.
    pub fn region_writer(&self, key: &str, len: u64) -> Result<RegionWriter> {
        RegionWriter::begin(self, key, len)
    }

    /// These objects as the files of a model directory.
    pub fn directory(&self) -> StoreDirectory {
        StoreDirectory::new(self.clone())
    }

    /// The pointer called `name`.
    ///
    /// # Errors
    /// [`StoreError::UnsafePath`].
    pub fn pointer(&self, name: &str) -> Result<Pointer> {
        self.full(name)?;
        Ok(Pointer::new(self.clone(), name))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.url())
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

fn open_s3(url: &str, bucket: &str, prefix: String) -> Result<Store> {
    let settings = S3Settings::from_environment();
    let secrets = settings.secrets();
    let fail = |reason: String| StoreError::Address {
        address: mask(url),
        reason: secrets.mask(&reason),
    };
    if settings.access_key.is_none()
        && let Some(name) = &settings.unsupported
    {
        return Err(fail(format!(
            "the AWS profile uses {name}, which this program does not follow; run \
             `eval \"$(aws configure export-credentials --format env)\"` first"
        )));
    }
    let anonymous = std::env::var("AWS_SKIP_SIGNATURE").is_ok_and(|value| value == "true");
    if settings.access_key.is_none() && settings.endpoint.is_some() && !anonymous {
        return Err(fail(
            "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials"
                .to_string(),
        ));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            base: 2.0,
        },
        max_retries: TRIES - 1,
        retry_timeout: BUDGET,
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One request carries at most one part; the default of 30 s is short for a poor line.
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), "120s")
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), "10s");
    if let (Some(key), Some(secret)) = (&settings.access_key, &settings.secret_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    if let Some(token) = &settings.session_token {
        builder = builder.with_token(token);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        let plain = endpoint.to_ascii_lowercase().starts_with("http://");
        builder = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_endpoint(endpoint)
            .with_allow_http(plain);
    }
    let backend = builder.build().map_err(|error| fail(error.to_string()))?;
    Ok(Store::remote(
        Arc::new(backend),
        format!("s3://{bucket}"),
        secrets,
        true,
        prefix,
    ))
}
