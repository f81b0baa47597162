//! [`Publication`]: writes the objects of one artifact and makes them visible together.
//!
//! Until [`Publication::commit`] nothing is at its place: local objects are temporary files, remote ones uploads that
//! are not completed. A commit puts the objects in place and then creates the manifest by a conditional put. On local
//! stores that happens under the directory's lock, so two writers of one artifact never mix. On servers there is no such
//! lock: the manifest is looked for first, which leaves a window of the few requests a commit takes, in which a second
//! writer *with other bytes* could replace objects under the first one's manifest; `verify` would name them. Writers of
//! the same bytes (same inputs, same settings) never harm each other.
//!
//! A publication of [`Publication::begin`] lives and dies with its process. One of [`Publication::resume`] has a key, and
//! what is kept in it is there for every process that resumes the same key at the same place, at the same time or later.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::artifact::Artifact;
use crate::error::{Result, StoreError};
use crate::key::check_path;
use crate::leftovers::{remove_all, remove_if_committed, warn_of};
use crate::lock::DirectoryLock;
use crate::manifest::{MANIFEST, Manifest, ManifestDraft};
use crate::placing::{Part, place};
use crate::store::{Backend, Store};
use crate::unfinished::Unfinished;
use crate::writer::{Appender, RegionWriter, Stage, Staged, Written};

/// Small remote objects are held until the commit, up to this many bytes together.
const HELD_BYTES: u64 = 64 << 20;

/// The writer of one artifact; clones write the same one. Dropped without commit, it leaves nothing but what was kept.
#[derive(Clone)]
pub struct Publication {
    store: Store,
    /// What is shared with other writers of the same key.
    unfinished: Option<Arc<Unfinished>>,
    staged: Arc<Mutex<Vec<Staged>>>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({}, {} objects)", self.store, self.staged().len())
    }
}

/// An object that a writer of the publication's key has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What the manifest will say of it.
    pub written: Written,
    /// What its writer said of it.
    pub note: Bytes,
}

impl Publication {
    /// Starts the artifact at `store`. Temporary files that dead writers left there are removed.
    pub fn begin(store: &Store) -> Publication {
        if let Backend::Local(files) = &store.backend {
            files.clean(&store.prefix);
            warn_of(store, remove_if_committed(store));
        }
        Publication {
            store: store.clone(),
            unfinished: None,
            staged: Arc::default(),
        }
    }

    /// Begins, or joins, the unfinished artifact of `key` at `store`: objects that other writers of the key have kept
    /// are part of it. The key is a digest, in hexadecimal, of everything that decides the artifact's bytes.
    ///
    /// What writers of other keys left here is removed, unless they seem to be at work: locally that is when one lives
    /// (every writer holds a locked file), on servers when they kept something within the last six hours. All of it is
    /// removed when an artifact is committed here.
    ///
    /// On servers kept objects are uploads that are not completed: a lifecycle rule for such uploads should leave them
    /// for as long as a killed writer may take to be started again.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] if `key` is not 16 to 128 lower-case hexadecimal digits; what the backend says.
    pub fn resume(store: &Store, key: &str) -> Result<Publication> {
        if let Backend::Local(files) = &store.backend {
            files.clean(&store.prefix);
        }
        Ok(Publication {
            store: store.clone(),
            unfinished: Some(Arc::new(Unfinished::join(store, key)?)),
            staged: Arc::default(),
        })
    }

    /// Was it begun by [`Self::resume`], so that objects can be kept?
    pub fn is_resumable(&self) -> bool {
        self.unfinished.is_some()
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

    fn unfinished(&self) -> Result<&Unfinished> {
        let reason = "only a publication that was begun by `resume` can keep something";
        let unfinished = self.unfinished.as_deref();
        unfinished.ok_or_else(|| StoreError::misuse(&self.store, reason))
    }

    /// Ends an object and keeps it, unseen, for whoever commits, even if this process is killed: durable as the store
    /// promises, with a `note` for those who adopt it ([`MAX_NOTE_BYTES`](crate::MAX_NOTE_BYTES)). If another writer has
    /// kept the same object already, that one stands, with its note.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another writer of the key has kept other bytes under this path.
    pub fn keep(&self, writer: RegionWriter, note: impl Into<Bytes>) -> Result<()> {
        self.unfinished()?.keep(writer.stage()?, note.into())
    }

    /// Has a writer of the key finished the object `path`, as far as this publication has seen?
    pub fn is_finished(&self, path: &str) -> bool {
        let unfinished = self.unfinished.as_ref();
        unfinished.is_some_and(|unfinished| unfinished.is_finished(path))
    }

    /// Looks again at what the writers of the key have kept; all of it, sorted by path.
    ///
    /// What was seen once stays: when another writer has committed, nothing is left to be looked at, and a commit of
    /// this one succeeds with what it has seen. A writer that waits for others asks [`Publication::is_committed`] too.
    pub fn finished(&self) -> Result<Vec<Finished>> {
        let Some(unfinished) = &self.unfinished else {
            return Ok(Vec::new());
        };
        unfinished.refresh()?;
        unfinished.forget_lost()?;
        let finished = |record: crate::record::Record| {
            let written = record.written()?;
            let note = record.note;
            Some(Finished { written, note })
        };
        Ok(unfinished.records().into_iter().filter_map(finished).collect())
    }

    /// Is an artifact at this place? Then another writer was first.
    pub fn is_committed(&self) -> Result<bool> {
        Ok(self.store.head(MANIFEST)?.is_some())
    }

    /// Leaves a note called `name` (a relative path) for the other writers of the key, in place of an earlier one. Notes
    /// are no part of the artifact and go with the commit.
    pub fn note(&self, name: &str, note: impl Into<Bytes>) -> Result<()> {
        self.unfinished()?.note(name, note.into())
    }

    /// The note called `name`, or `None` if nobody has left one (yet).
    pub fn read_note(&self, name: &str) -> Result<Option<Bytes>> {
        self.unfinished()?.read_note(name)
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

    /// Makes the artifact visible: what was added here and what any writer of the key has kept (of one path, what was
    /// added here). If the very same artifact is there already, that one is returned. Nothing else is left at the place.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another artifact is at this place; it stays as it was. [`StoreError::Lost`] if a kept
    /// object is gone (a server drops uploads that are never completed): it counts as unfinished from then on, so
    /// another run makes it again; of the others nothing is lost.
    pub fn commit(self, draft: ManifestDraft) -> Result<Artifact> {
        let parts = self.parts()?;
        let written = parts.iter().map(|(written, _)| written.clone()).collect();
        let manifest = Manifest::new(draft, written);
        // Read as a reader will read it: what cannot be opened is not published.
        let bytes = Bytes::from(manifest.to_bytes());
        let manifest = Manifest::parse(&bytes, &self.store.describe(MANIFEST))?;
        let parts = parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>();
        let unfinished = self.unfinished.as_deref();
        let lock = match &self.store.backend {
            Backend::Local(files) => {
                for part in &parts {
                    if let Part::Staged(object) = part {
                        object.sync()?;
                    }
                }
                let root = files.path(&self.store.prefix);
                files.make_directory(&root)?;
                Some(DirectoryLock::acquire(&root)?)
            }
            Backend::Remote(_) => None,
        };
        place(&self.store, parts, &bytes, unfinished)?;
        if let Some(unfinished) = unfinished {
            unfinished.leave();
        }
        warn_of(&self.store, remove_all(&self.store));
        drop(lock);
        Ok(Artifact::new(self.store.clone(), manifest))
    }

    /// The objects of the artifact, sorted by path.
    fn parts(&self) -> Result<Vec<(Written, Part)>> {
        let staged = std::mem::take(&mut *self.staged()).into_iter();
        let mut parts: Vec<(Written, Part)> = staged
            .map(|object| (object.written.clone(), Part::Staged(object)))
            .collect();
        if let Some(unfinished) = &self.unfinished {
            unfinished.refresh()?;
            for record in unfinished.records() {
                let is_ours = parts
                    .iter()
                    .any(|(written, _)| written.path == record.object.path);
                if let Some(written) = record.written().filter(|_| !is_ours) {
                    parts.push((written, Part::Kept(record)));
                }
            }
        }
        parts.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        Ok(parts)
    }
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

    /// Ends the object and keeps it; see [`Publication::keep`].
    pub fn keep(self, note: impl Into<Bytes>) -> Result<()> {
        let unfinished = self.publication.unfinished()?;
        unfinished.keep(self.appender.finish()?, note.into())
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
