//! Publishing an artifact: objects first, the manifest last.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::artifact::Artifact;
use crate::error::{Result, StoreError};
use crate::manifest::{MANIFEST, Manifest, ManifestDraft};
use crate::store::{Backend, Store};
use crate::writer::{ObjectWriter, PositionedWriter, RegionWriter, Written};

/// An artifact being written. Objects may be written from several threads; [`Self::commit`] makes it visible.
/// Until then, and for ever if the process dies, no reader sees an artifact here.
#[derive(Clone, Debug)]
pub struct Publication {
    store: Store,
    written: Arc<Mutex<Vec<Written>>>,
}

impl Publication {
    /// Begins an artifact at the root of `store`. Leftovers of writers that died here are removed.
    pub fn begin(store: &Store) -> Self {
        if let Backend::Local(files) = &*store.backend {
            files.clean(&store.prefix);
        }
        Self { store: store.clone(), written: Arc::default() }
    }

    /// Where the artifact will be.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn record(&self, written: Written) {
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.path != written.path);
        all.push(written);
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        self.store.put(path, bytes.clone())?;
        self.record(Written::of(path, &bytes));
        Ok(())
    }

    /// An object written from front to back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn writer(&self, path: &str) -> Result<ArtifactObject> {
        Ok(ArtifactObject { publication: self.clone(), writer: self.store.writer(path)? })
    }

    /// An object of known length written in any order; hand what it finishes with to [`Self::add`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn region_writer(&self, path: &str, len: u64) -> Result<RegionWriter> {
        self.store.region_writer(path, len)
    }

    /// Finishes a region writer and makes its object part of the artifact.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add(&self, writer: RegionWriter) -> Result<()> {
        self.record(Box::new(writer).finish()?);
        Ok(())
    }

    /// Makes the artifact visible. If an equal one is there already (an earlier run, or one beside us), that
    /// is success.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another artifact is there; otherwise what the store gives.
    pub fn commit(self, draft: ManifestDraft) -> Result<Artifact> {
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        let manifest = Manifest::new(draft, written);
        self.store.create(MANIFEST, manifest.to_bytes())?;
        Ok(Artifact::new(self.store, manifest))
    }
}

/// One object of a publication, written through [`Write`].
pub struct ArtifactObject {
    publication: Publication,
    writer: ObjectWriter,
}

impl ArtifactObject {
    /// Makes the object part of the artifact.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(self) -> Result<(), StoreError> {
        let written = self.writer.finish()?;
        self.publication.record(written);
        Ok(())
    }
}

impl Write for ArtifactObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
