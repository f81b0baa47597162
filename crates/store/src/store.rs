//! [`Store`]: one place where objects live, and the plain operations on them.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use tributary_tensorfile::{MappedFile, ReadAt};

use crate::address::Address;
use crate::amazon;
use crate::credentials::Environment;
use crate::direct_read::DirectReader;
use crate::directory::StoreDirectory;
use crate::error::{Result, StoreError};
use crate::key::{check_length, check_path, is_own, join};
use crate::local::{Durability, LocalFiles};
use crate::memory;
use crate::pauses::FIRST_PAUSE;
use crate::pointer::Pointer;
use crate::remote::Remote;
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
    /// `AWS_ENDPOINT_URL_S3`, ...) and from `~/.aws/credentials` and `~/.aws/config` (`AWS_PROFILE`). Payloads are hashed
    /// for their signature where the endpoint is plain HTTP to another machine; over TLS and on this machine only with
    /// `AWS_UNSIGNED_PAYLOAD=false`.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is not understood or its credentials cannot be found.
    pub fn open(url: &str) -> Result<Store> {
        // Variables that are not text are nobody's credentials.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self::open_with(url, std::env::vars_os().filter_map(text))
    }

    /// As [`Store::open`], with these variables instead of the process's own.
    pub fn open_with(url: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Store> {
        let environment: Environment = environment.into_iter().collect();
        match Address::parse(url)? {
            Address::Local(root) => {
                let durability = match environment.get(DURABILITY_VARIABLE).map(String::as_str) {
                    Some("process") => Durability::Process,
                    _ => Durability::Device,
                };
                Ok(Store {
                    backend: Backend::Local(LocalFiles::new(root, durability)),
                    prefix: String::new(),
                })
            }
            Address::Memory { name, prefix } => {
                let mut store = Self::from_object_store(memory::named(&name), &format!("memory://{name}"));
                store.prefix = prefix;
                Ok(store)
            }
            Address::S3 { bucket, prefix } => amazon::open(url, &bucket, prefix, &environment),
        }
    }

    /// A store in memory that nobody else sees, called `memory:///name` in messages; gone with its last copy.
    pub fn scratch(name: &str) -> Store {
        Self::from_object_store(Arc::new(InMemory::new()), &format!("memory:///{name}"))
    }

    /// A store on any backend that has multipart uploads, called `url` in messages; for memory, and for tests with
    /// faults injected.
    pub fn from_object_store<T: ObjectStore + MultipartStore>(backend: Arc<T>, url: &str) -> Store {
        let mut store = Self::remote(backend, None, mask(url), Secrets::default(), false, String::new());
        if let Backend::Remote(remote) = &mut store.backend
            && let Some(remote) = Arc::get_mut(remote)
        {
            // Nothing far away to be kind to.
            remote.first_pause = std::time::Duration::from_millis(1);
        }
        store
    }

    pub(crate) fn remote<T: ObjectStore + MultipartStore>(
        backend: Arc<T>,
        direct: Option<DirectReader>,
        label: String,
        secrets: Secrets,
        backend_retries: bool,
        prefix: String,
    ) -> Store {
        let remote = Remote {
            objects: Arc::clone(&backend) as Arc<dyn ObjectStore>,
            multipart: backend,
            direct,
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
        check_length(&full)?;
        Ok(full)
    }

    /// The place `path` below this one, which may be one of this crate's own: such names pass no other way.
    pub(crate) fn hidden(&self, path: &str) -> Store {
        Store {
            backend: self.backend.clone(),
            prefix: join(&self.prefix, path),
        }
    }

    /// The backend's prefix for `prefix`, which may be empty or end in `/`.
    pub(crate) fn full_prefix(&self, prefix: &str) -> Result<String> {
        let prefix = prefix.trim_end_matches('/');
        let full = join(&self.prefix, prefix);
        if !prefix.is_empty() {
            check_path(prefix)?;
        }
        check_length(&full)?;
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

    /// All objects below the directory `prefix` (`""` for all), sorted by key; keys are relative to this store. This
    /// crate's own working files, such as those of unfinished publications, are not listed.
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
        found.retain(|meta| !is_own(&meta.key));
        Ok(found)
    }

    /// Names directly below the directory `prefix`, sorted; those that have objects below them end in `/`.
    pub fn children(&self, prefix: &str) -> Result<Vec<String>> {
        let full = self.full_prefix(prefix)?;
        let mut names = match &self.backend {
            Backend::Local(files) => files.children(&full)?,
            Backend::Remote(remote) => remote.children(&full)?,
        };
        names.retain(|name| !is_own(name));
        Ok(names)
    }

    /// Removes `key`; whether it was there.
    pub fn delete(&self, key: &str) -> Result<bool> {
        let full = self.full(key)?;
        match &self.backend {
            Backend::Local(files) => files.delete(&full),
            Backend::Remote(remote) => remote.delete(&full),
        }
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
