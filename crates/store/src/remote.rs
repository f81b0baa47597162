//! Objects behind the `object_store` crate: S3 and memory.
//!
//! Every call blocks its thread and maps the crate's errors to ours. A conditional create whose outcome is
//! unknown (the answer was lost and the retry found the object) is settled by reading the object back.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error as BackendError, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};

use crate::error::{Result, StoreError};
use crate::runtime::block_on;
use crate::secrets::Secrets;
use crate::store::{Created, ObjectMeta};

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    url: String,
    secrets: Secrets,
}

/// Version of an object, for compare-and-swap.
pub(crate) type Version = UpdateVersion;

impl Remote {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, url: String, secrets: Secrets) -> Self {
        Self { store, url, secrets }
    }

    /// The object's masked address.
    pub(crate) fn at(&self, key: &str) -> String {
        crate::mask(&if key.is_empty() { self.url.clone() } else { format!("{}/{key}", self.url) })
    }

    pub(crate) fn fail(&self, action: &'static str, key: &str, error: &BackendError) -> StoreError {
        let (at, message) = (self.at(key), self.secrets.mask(&error.to_string()));
        match error {
            BackendError::NotFound { .. } => StoreError::NotFound { at },
            BackendError::AlreadyExists { .. } => StoreError::Conflict { at },
            BackendError::Precondition { .. } => StoreError::Changed { at },
            BackendError::PermissionDenied { .. } | BackendError::Unauthenticated { .. } => {
                StoreError::Denied { action, at, message }
            }
            BackendError::Generic { .. } => StoreError::Backend { action, at, message, transient: true },
            _ => StoreError::Backend { action, at, message, transient: false },
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Bytes> {
        Ok(self.get_versioned(key)?.0)
    }

    pub(crate) fn get_versioned(&self, key: &str) -> Result<(Bytes, Version)> {
        let path = Path::from(key);
        let got = block_on(async {
            let got = self.store.get(&path).await?;
            let version = Version { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok((got.bytes().await?, version))
        })?;
        got.map_err(|error| self.fail("read", key, &error))
    }

    /// Bytes `start..start+len`; with `etag`, only of that version of the object.
    pub(crate) fn get_range(&self, key: &str, start: u64, len: usize, etag: Option<&str>) -> Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..start + len as u64)),
            if_match: etag.map(str::to_owned),
            ..GetOptions::default()
        };
        let path = Path::from(key);
        let got = block_on(async { self.store.get_opts(&path, options).await?.bytes().await })?;
        let bytes = got.map_err(|error| self.fail("read", key, &error))?;
        if bytes.len() == len {
            return Ok(bytes);
        }
        let reason = format!("{len} bytes at {start} were asked for, {} came", bytes.len());
        Err(StoreError::misuse(self.at(key), reason))
    }

    pub(crate) fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let path = Path::from(key);
        match block_on(self.store.head(&path))? {
            Ok(meta) => Ok(Some(ObjectMeta { key: key.to_owned(), size: meta.size, etag: meta.e_tag })),
            Err(BackendError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fail("look at", key, &error)),
        }
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let path = Path::from(prefix);
        let listed = block_on(self.store.list(Some(&path)).try_collect::<Vec<_>>())?;
        let mut found: Vec<ObjectMeta> = listed
            .map_err(|error| self.fail("list", prefix, &error))?
            .into_iter()
            .map(|meta| ObjectMeta { key: meta.location.to_string(), size: meta.size, etag: meta.e_tag })
            .collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Names directly below `prefix`: what ends in `/` has more below it.
    pub(crate) fn children(&self, prefix: &str) -> Result<Vec<String>> {
        let path = Path::from(prefix);
        let listed = block_on(self.store.list_with_delimiter(Some(&path)))?;
        let listed = listed.map_err(|error| self.fail("list", prefix, &error))?;
        let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
        let folders = listed.common_prefixes.iter().map(|path| format!("{}/", name(path)));
        let mut names: Vec<String> = folders.chain(listed.objects.iter().map(|meta| name(&meta.location))).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<bool> {
        let there = self.head(key)?.is_some();
        let path = Path::from(key);
        match block_on(self.store.delete(&path))? {
            Ok(()) | Err(BackendError::NotFound { .. }) => Ok(there),
            Err(error) => Err(self.fail("delete", key, &error)),
        }
    }

    pub(crate) fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let path = Path::from(key);
        let put = block_on(self.store.put(&path, PutPayload::from(bytes)))?;
        put.map(drop).map_err(|error| self.fail("write", key, &error))
    }

    pub(crate) fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        match self.put_if(key, bytes.clone(), PutMode::Create) {
            Ok(()) => Ok(Created::New),
            Err(StoreError::Conflict { at }) => {
                if self.get(key)? == bytes { Ok(Created::AlreadyThere) } else { Err(StoreError::Conflict { at }) }
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the object if it still is `version`, or creates it if there was none; [`StoreError::Changed`]
    /// or [`StoreError::Conflict`] if another writer was first.
    pub(crate) fn swap(&self, key: &str, bytes: Bytes, version: Option<Version>) -> Result<()> {
        self.put_if(key, bytes, version.map_or(PutMode::Create, PutMode::Update))
    }

    fn put_if(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        let path = Path::from(key);
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = block_on(self.store.put_opts(&path, PutPayload::from(bytes), options))?;
        put.map(drop).map_err(|error| self.fail("write", key, &error))
    }

    pub(crate) fn begin_multipart(&self, key: &str) -> Result<Box<dyn MultipartUpload>> {
        let path = Path::from(key);
        block_on(self.store.put_multipart(&path))?.map_err(|error| self.fail("write", key, &error))
    }
}
