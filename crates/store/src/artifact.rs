//! A published artifact: a root with a manifest.

use crate::directory::StoreDirectory;
use crate::error::{Result, StoreError};
use crate::manifest::{MANIFEST, MAX_MANIFEST_BYTES, Manifest};
use crate::store::Store;
use crate::verify::{Depth, VerifyProgress, VerifyReport, verify};

/// A published artifact.
#[derive(Clone, Debug)]
pub struct Artifact {
    store: Store,
    manifest: Manifest,
}

impl Artifact {
    pub(crate) fn new(store: Store, manifest: Manifest) -> Self {
        Self { store, manifest }
    }

    /// Opens the artifact at the root of `store`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without manifest, [`StoreError::Manifest`] for a bad one.
    pub fn open(store: &Store) -> Result<Self> {
        let at = store.describe(MANIFEST);
        match store.head(MANIFEST)? {
            None => return Err(StoreError::NotFound { at }),
            Some(meta) if meta.size > MAX_MANIFEST_BYTES => {
                return Err(StoreError::Manifest { at, reason: format!("{} bytes, more than {MAX_MANIFEST_BYTES}", meta.size) });
            }
            Some(_) => {}
        }
        let manifest = Manifest::parse(&store.get(MANIFEST)?, &at)?;
        Ok(Self { store: store.clone(), manifest })
    }

    /// [`Self::open`], with `None` where there is no manifest.
    ///
    /// # Errors
    /// As [`Self::open`], but for its absence.
    pub fn try_open(store: &Store) -> Result<Option<Self>> {
        match Self::open(store) {
            Ok(artifact) => Ok(Some(artifact)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its root.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files at its root.
    pub fn directory(&self) -> StoreDirectory {
        self.store.directory()
    }

    /// Reads its objects again and compares them with the manifest; every fault is in the report.
    ///
    /// # Errors
    /// What keeps the reading itself from going on.
    pub fn verify(&self, depth: Depth, progress: &dyn Fn(VerifyProgress)) -> Result<VerifyReport> {
        verify(self, depth, progress)
    }

    /// Removes the artifact: the manifest first, so that no reader sees it without its objects.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(self) -> Result<()> {
        self.store.delete(MANIFEST)?;
        for object in &self.manifest.objects {
            self.store.delete(&object.path)?;
        }
        Ok(())
    }
}
