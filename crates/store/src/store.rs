//! The store: objects by key below a root, local or remote.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use tributary_tensorfile::{MappedFile, ReadAt};

use crate::directory::StoreDirectory;
use crate::error::{Result, StoreError};
use crate::key::{check_path, join};
use crate::local::LocalFiles;
use crate::pointer::Pointer;
use crate::remote::Remote;
use crate::remote_object::RemoteObject;
use crate::secrets::Secrets;
use crate::writer::{ObjectWriter, RegionWriter};

/// A root under which objects lie; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) backend: Arc<Backend>,
    pub(crate) prefix: String,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Local(LocalFiles),
    Remote(Remote),
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Key below the store's root.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// The server's version mark, where there is one.
    pub etag: Option<String>,
}

/// Outcome of a conditional create that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is new.
    New,
    /// The object was there with the same content: an earlier try of ours, or an equal writer.
    AlreadyThere,
}

impl Store {
    /// Opens `s3://bucket/prefix`, `file:///path`, `memory://name/prefix` (of this process) or a plain path.
    /// For S3, credentials, region and endpoint come from `AWS_*` variables and `~/.aws`.
    ///
    /// # Errors
    /// [`StoreError::Address`] saying what would do. Nothing is read or written yet.
    pub fn open(address: &str) -> Result<Self> {
        crate::address::open(address)
    }

    /// A store over any backend of the `object_store` crate; `url` names it in messages.
    pub fn from_object_store(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self::remote(Remote::new(store, url.to_owned(), Secrets::default()), "")
    }

    pub(crate) fn local(files: LocalFiles) -> Self {
        Self { backend: Arc::new(Backend::Local(files)), prefix: String::new() }
    }

    pub(crate) fn remote(remote: Remote, prefix: &str) -> Self {
        Self { backend: Arc::new(Backend::Remote(remote)), prefix: prefix.to_owned() }
    }

    /// The store whose root is `path` below this one's.
    ///
    /// # Errors
    /// [`StoreError::UnsafePath`].
    pub fn child(&self, path: &str) -> Result<Self> {
        Ok(Self { backend: Arc::clone(&self.backend), prefix: self.key(path)? })
    }

    pub(crate) fn key(&self, path: &str) -> Result<String> {
        check_path(path)?;
        Ok(join(&self.prefix, path))
    }

    /// The address, credentials masked.
    pub fn url(&self) -> String {
        match &*self.backend {
            Backend::Local(files) => files.path(&self.prefix).display().to_string(),
            Backend::Remote(remote) => remote.at(&self.prefix),
        }
    }

    /// The address of an object, for messages.
    pub fn describe(&self, path: &str) -> String {
        format!("{}/{path}", self.url())
    }

    /// The root's path, if it is local.
    pub fn local_path(&self) -> Option<PathBuf> {
        match &*self.backend {
            Backend::Local(files) => Some(files.path(&self.prefix)),
            Backend::Remote(_) => None,
        }
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, path: &str) -> Result<Bytes> {
        let key = self.key(path)?;
        match &*self.backend {
            Backend::Local(files) => files.get(&key),
            Backend::Remote(remote) => remote.get(&key),
        }
    }

    /// Bytes `start..start+len` of an object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get_range(&self, path: &str, start: u64, len: usize) -> Result<Bytes> {
        let key = self.key(path)?;
        match &*self.backend {
            Backend::Local(files) => files.get_range(&key, start, len),
            Backend::Remote(remote) => remote.get_range(&key, start, len, None),
        }
    }

    /// The object's size, or `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        let key = self.key(path)?;
        let found = match &*self.backend {
            Backend::Local(files) => files.head(&key)?,
            Backend::Remote(remote) => remote.head(&key)?,
        };
        Ok(found.map(|meta| ObjectMeta { key: path.to_owned(), ..meta }))
    }

    /// All objects below the folder `path` (the root if empty), sorted by key; keys are below this root.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, path: &str) -> Result<Vec<ObjectMeta>> {
        let key = if path.is_empty() { self.prefix.clone() } else { self.key(path)? };
        let found = match &*self.backend {
            Backend::Local(files) => files.list(&key)?,
            Backend::Remote(remote) => remote.list(&key)?,
        };
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        Ok(found.into_iter().map(|meta| ObjectMeta { key: meta.key[skip..].to_owned(), ..meta }).collect())
    }

    /// Names directly below the folder `path` (the root if empty); folders end in `/`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn children(&self, path: &str) -> Result<Vec<String>> {
        let key = if path.is_empty() { self.prefix.clone() } else { self.key(path)? };
        match &*self.backend {
            Backend::Local(files) => files.children(&key),
            Backend::Remote(remote) => remote.children(&key),
        }
    }

    /// Removes an object; whether it was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, path: &str) -> Result<bool> {
        let key = self.key(path)?;
        match &*self.backend {
            Backend::Local(files) => files.delete(&key),
            Backend::Remote(remote) => remote.delete(&key),
        }
    }

    /// Removes every object below this root.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete_all(&self) -> Result<()> {
        for meta in self.list("")? {
            self.delete(&meta.key)?;
        }
        if let Backend::Local(files) = &*self.backend {
            files.prune(&self.prefix);
        }
        Ok(())
    }

    /// Writes an object, replacing what is there; readers see the old or the new one, never a mixture.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let (key, bytes) = (self.key(path)?, bytes.into());
        match &*self.backend {
            Backend::Local(files) => files.put(&key, &bytes),
            Backend::Remote(remote) => remote.put(&key, bytes),
        }
    }

    /// Writes an object unless one is there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one is there with other content.
    pub fn create(&self, path: &str, bytes: impl Into<Bytes>) -> Result<Created> {
        let (key, bytes) = (self.key(path)?, bytes.into());
        match &*self.backend {
            Backend::Local(files) => files.create(&key, &bytes),
            Backend::Remote(remote) => remote.create(&key, bytes),
        }
    }

    /// Random access to an object: mapped if local, ranged requests if remote.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and the like.
    pub fn reader(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        let key = self.key(path)?;
        match &*self.backend {
            Backend::Local(files) => {
                let path = files.path(&key);
                // Asked first, so that the error is ours and says which file.
                if files.head(&key)?.is_none() {
                    return Err(StoreError::NotFound { at: path.display().to_string() });
                }
                let mapped = MappedFile::open(&path).map_err(|error| StoreError::misuse(path.display(), error.to_string()))?;
                Ok(Arc::new(mapped))
            }
            Backend::Remote(remote) => Ok(Arc::new(RemoteObject::open(remote.clone(), key)?)),
        }
    }

    /// A new object, written from front to back; it appears when the writer is finished.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn writer(&self, path: &str) -> Result<ObjectWriter> {
        ObjectWriter::begin(self, path)
    }

    /// A new object of `len` bytes, written in any order from several threads.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn region_writer(&self, path: &str, len: u64) -> Result<RegionWriter> {
        RegionWriter::begin(self, path, len)
    }

    /// The files directly at this root, as the tensor readers want them.
    pub fn directory(&self) -> StoreDirectory {
        StoreDirectory::new(self.clone())
    }

    /// The movable name `path`.
    ///
    /// # Errors
    /// [`StoreError::UnsafePath`].
    pub fn pointer(&self, path: &str) -> Result<Pointer> {
        self.key(path)?;
        Ok(Pointer::new(self.clone(), path))
    }
}
