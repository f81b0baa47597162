//! [`Artifact`]: a published set of objects, found by its manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_tensorfile::ReadAt;

use crate::directory::StoreDirectory;
use crate::error::{Result, StoreError};
use crate::leftovers::remove_if_committed;
use crate::manifest::{MANIFEST, MAX_MANIFEST_BYTES, Manifest, ObjectEntry, OutputEntry};
use crate::store::Store;
use crate::verify::verify;
use crate::verify_report::{Depth, Problem, ProblemKind, VerifyProgress, VerifyReport};

/// A published artifact: its place and its checked manifest.
#[derive(Clone, Debug)]
pub struct Artifact {
    store: Store,
    manifest: Arc<Manifest>,
}

impl Artifact {
    /// Opens the artifact at `store`. Reads and checks the manifest only.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, [`StoreError::Manifest`] if it cannot be trusted.
    pub fn open(store: &Store) -> Result<Artifact> {
        let missing = || StoreError::NotFound {
            at: store.describe(MANIFEST),
        };
        // Size first: what is not a manifest may be anything.
        let meta = store.head(MANIFEST)?.ok_or_else(missing)?;
        if meta.size > MAX_MANIFEST_BYTES {
            let reason = format!("{} bytes are more than {MAX_MANIFEST_BYTES}", meta.size);
            return Err(StoreError::Manifest {
                at: store.describe(MANIFEST),
                reason,
            });
        }
        let manifest = Manifest::parse(&store.get(MANIFEST)?, &store.describe(MANIFEST))?;
        Ok(Self::new(store.clone(), manifest))
    }

    /// As [`Artifact::open`], but `None` if there is no artifact (yet).
    pub fn try_open(store: &Store) -> Result<Option<Artifact>> {
        match Self::open(store) {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    pub(crate) fn new(store: Store, manifest: Manifest) -> Artifact {
        Artifact {
            store,
            manifest: Arc::new(manifest),
        }
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its place.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its identity: the manifest's digest.
    pub fn digest(&self) -> String {
        self.manifest.digest()
    }

    /// Its objects as the files of a model directory.
    pub fn directory(&self) -> StoreDirectory {
        self.store.directory()
    }

    /// The named part `name` and its place.
    pub fn output(&self, name: &str) -> Option<(&OutputEntry, Store)> {
        let entry = self.manifest.outputs.get(name)?;
        let place = if entry.path.is_empty() {
            Ok(self.store.clone())
        } else {
            self.store.child(&entry.path)
        };
        Some((entry, place.ok()?))
    }

    /// All bytes of the object `path`, checked against the manifest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if they are not what was published.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let reader = self.open_checked(path)?;
        let len = usize::try_from(reader.len())
            .map_err(|_| StoreError::misuse(self.store.describe(path), "it does not fit into memory"))?;
        let mut bytes = vec![0; len];
        reader
            .read_at(0, &mut bytes)
            .map_err(|source| StoreError::io("read", self.store.describe(path), source))?;
        Ok(bytes)
    }

    /// Random access to the object `path`, after checking every byte of it against the manifest.
    pub fn open_checked(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        crate::verify::open_checked(self, path)
    }

    /// Objects that are not there or have another size than was published, by one listing: far quicker than
    /// [`Self::verify`], and blind to changed bytes.
    ///
    /// # Errors
    /// The place cannot be listed.
    pub fn wrong_sizes(&self) -> Result<Vec<Problem>> {
        let there: BTreeMap<String, u64> = self
            .store
            .list("")?
            .into_iter()
            .map(|meta| (meta.key, meta.size))
            .collect();
        let problem = |entry: &ObjectEntry| {
            let kind = match there.get(&entry.path) {
                Some(found) if *found == entry.size => return None,
                Some(found) => ProblemKind::Size {
                    expected: entry.size,
                    found: *found,
                },
                None => ProblemKind::Missing,
            };
            let path = entry.path.clone();
            Some(Problem { path, kind })
        };
        Ok(self.manifest.objects.iter().filter_map(problem).collect())
    }

    /// Is it what was published? On this machine every byte is read; elsewhere, where that would move the artifact once
    /// more, names and sizes are compared.
    ///
    /// # Errors
    /// [`StoreError::Broken`] with every fault, or a part that cannot be read.
    pub fn check(&self) -> Result<()> {
        let problems = match self.store.local_path() {
            Some(_) => {
                let report = self.verify(Depth::Full, &|_| {})?;
                if let Some(error) = report.unreadable() {
                    return Err(error);
                }
                report.problems
            }
            None => self.wrong_sizes()?,
        };
        if problems.is_empty() {
            return Ok(());
        }
        Err(StoreError::Broken {
            at: self.store.url(),
            problems: problems.iter().map(Problem::to_string).collect(),
        })
    }

    /// Re-reads the objects as far as `depth` says and compares them with the manifest; every fault is in the report.
    ///
    /// # Errors
    /// What keeps the reading itself from going on.
    pub fn verify(&self, depth: Depth, progress: &dyn Fn(VerifyProgress)) -> Result<VerifyReport> {
        verify(self, depth, progress)
    }

    /// Removes the artifact: its manifest first, so that nobody sees a part of it, then its objects.
    ///
    /// Objects the manifest does not list stay.
    pub fn remove(self) -> Result<()> {
        remove_if_committed(&self.store)?;
        self.store.delete(MANIFEST)?;
        for entry in &self.manifest.objects {
            self.store.delete(&entry.path)?;
        }
        self.store.prune();
        Ok(())
    }
}
