//! [`Publication`]: writes the objects of one artifact and makes them visible together.
//!
//! Until [`Publication::commit`] nothing is at its place: local objects are temporary files, remote ones uploads that
//! are not completed. A commit puts the objects in place and then creates the manifest by a conditional put. On local
//! stores that happens under the directory's lock, so two writers of one artifact never mix. On servers there is no such
//! lock: the manifest is looked for first, which leaves a window of the few requests a commit takes, in which a second
//! writer *with other bytes* could replace objects under the first one's manifest; `verify` would name them. Writers of
//! the same bytes (same inputs, same settings) never harm each other.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::artifact::Artifact;
use crate::error::{Result, StoreError};
use crate::key::check_path;
use crate::lock::DirectoryLock;
use crate::manifest::{MANIFEST, Manifest, ManifestDraft};
use crate::store::{Backend, Store};
use crate::writer::{Appender, RegionWriter, Stage, Staged};

/// Small remote objects are held until the commit, up to this many bytes together.
const HELD_BYTES: u64 = 64 << 20;

/// The writer of one artifact; clones write the same one. Dropped without commit, it leaves nothing.
#[derive(Clone)]
pub struct Publication {
    store: Store,
    staged: Arc<Mutex<Vec<Staged>>>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({}, {} objects)", self.store, self.staged().len())
    }
}

impl Publication {
    /// Starts the artifact at `store`. Temporary files that dead writers left there are removed.
    pub fn begin(store: &Store) -> Publication {
        if let Backend::Local(files) = &store.backend {
            files.clean(&store.prefix);
        }
        Publication {
            store: store.clone(),
            staged: Arc::default(),
        }
    }

    /// The place of the artifact.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes and adds a small object.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        self.check(path)?;
        let stage = Stage::begin(&self.store, path, Some(bytes.len() as u64))?;
        stage.write_at(0, &bytes)?;
        self.record(stage.finish(path.to_string(), bytes.len() as u64)?)
    }

    /// Starts an object written from beginning to end; [`ArtifactObject::finish`] adds it.
    pub fn writer(&self, path: &str) -> Result<ArtifactObject> {
        self.check(path)?;
        Ok(ArtifactObject {
            publication: self.clone(),
            appender: Appender::begin(&self.store, path)?,
        })
    }

    /// Starts an object of `len` bytes written by position; [`Publication::add`] ends and adds it.
    pub fn region_writer(&self, path: &str, len: u64) -> Result<RegionWriter> {
        self.check(path)?;
        RegionWriter::begin(&self.store, path, len)
    }

    /// Ends an object written by position and makes it part of the artifact.
    pub fn add(&self, writer: RegionWriter) -> Result<()> {
        self.record(writer.stage()?)
    }

    fn staged(&self) -> MutexGuard<'_, Vec<Staged>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a finished object part of the artifact, in place of an earlier one of the same path.
    fn record(&self, mut object: Staged) -> Result<()> {
        let mut all = self.staged();
        all.retain(|other| other.written.path != object.written.path);
        let held: u64 = all.iter().map(Staged::held_bytes).sum();
        if held + object.held_bytes() > HELD_BYTES {
            object.unload()?;
        }
        all.push(object);
        Ok(())
    }

    fn check(&self, path: &str) -> Result<()> {
        check_path(path)?;
        if path == MANIFEST {
            return Err(StoreError::misuse(
                self.store.describe(path),
                "the manifest is written by the commit",
            ));
        }
        Ok(())
    }

    /// Makes the artifact visible. If the very same artifact is there already, that one is returned.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another artifact is at this place; it stays as it was.
    pub fn commit(self, draft: ManifestDraft) -> Result<Artifact> {
        let mut objects = std::mem::take(&mut *self.staged());
        objects.sort_by(|a, b| a.written.path.cmp(&b.written.path));
        let manifest = Manifest::new(
            draft,
            objects.iter().map(|object| object.written.clone()).collect(),
        );
        // Read as a reader will read it: what cannot be opened is not published.
        let manifest = Manifest::parse(&manifest.to_bytes(), &self.store.describe(MANIFEST))?;
        match &self.store.backend {
            Backend::Local(files) => {
                for object in &objects {
                    object.sync()?;
                }
                let root = files.path(&self.store.prefix);
                files.make_directory(&root)?;
                let _lock = DirectoryLock::acquire(&root)?;
                place(self.store, objects, manifest)
            }
            Backend::Remote(_) => place(self.store, objects, manifest),
        }
    }
}

/// Puts the objects in place, then the manifest.
fn place(store: Store, objects: Vec<Staged>, manifest: Manifest) -> Result<Artifact> {
    let bytes = manifest.to_bytes();
    match store.get(MANIFEST) {
        Ok(there) if there[..] == bytes[..] => return Ok(Artifact::new(store, manifest)),
        Ok(_) => {
            return Err(StoreError::Conflict {
                at: store.describe(MANIFEST),
            });
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let mut directories = BTreeSet::new();
    for object in objects {
        directories.extend(object.publish()?.1);
    }
    if let Backend::Local(files) = &store.backend {
        for directory in directories {
            files.sync_directory(&directory)?;
        }
    }
    store.create(MANIFEST, bytes)?;
    Ok(Artifact::new(store, manifest))
}

/// One object of an artifact, written from beginning to end; dropped unfinished, it leaves nothing.
pub struct ArtifactObject {
    publication: Publication,
    appender: Appender,
}

impl ArtifactObject {
    /// Ends the object and makes it part of the artifact.
    pub fn finish(self) -> Result<()> {
        self.publication.record(self.appender.finish()?)
    }
}

impl Write for ArtifactObject {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.appender.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
