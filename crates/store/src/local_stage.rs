//! A local object being written: a temporary file beside its place, hashed as it fills.
//!
//! Bytes may arrive in any order and from several threads, each byte once. As soon as a leaf of 8 MiB is complete a
//! hashing thread reads it back from the page cache, so the writer neither waits nor holds a copy; what is hashed is
//! what the file says.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::coverage::Coverage;
use crate::digest::{Digest, LEAF_BYTES, PieceDigest, PieceHasher, from_leaves, pieces};
use crate::error::{Result, StoreError};
use crate::hashing;
use crate::local::{Durability, LocalFiles, parent};
use crate::lock::TemporaryFile;

/// Read back in pieces that stay in the nearer caches.
const READ_BYTES: usize = 256 << 10;
/// Written to the device together, long before the end of a large object.
const SYNC_BYTES: u64 = 64 << 20;

#[derive(Debug, Default)]
struct Leaf {
    coverage: Coverage,
    queued: bool,
    digest: Option<PieceDigest>,
}

#[derive(Debug, Default)]
struct State {
    leaves: Vec<Leaf>,
    pending: usize,
    failure: Option<String>,
    /// Bytes hashed since the last sync began, and whether one is under way.
    unsynced: u64,
    syncing: bool,
}

struct Inner {
    temporary: TemporaryFile,
    state: Mutex<State>,
    done: Condvar,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the state half-changed: no code that may panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One local object being written.
pub(crate) struct LocalStage {
    inner: Arc<Inner>,
    target: PathBuf,
    files: LocalFiles,
    /// Known size, if the writer declared one.
    len: Option<u64>,
}

/// A complete local object, not yet at its place.
pub(crate) struct LocalStaged {
    inner: Arc<Inner>,
    target: PathBuf,
    files: LocalFiles,
}

impl LocalStage {
    /// Starts the object `key`; with `len` its file is sized at once.
    pub(crate) fn begin(files: &LocalFiles, key: &str, len: Option<u64>) -> Result<LocalStage> {
        let target = files.path_for_writing(key)?;
        let temporary = files.temporary_beside(&target)?;
        if let Some(len) = len {
            temporary
                .file()
                .set_len(len)
                .map_err(|source| StoreError::io("size", target.display(), source))?;
        }
        let inner = Inner {
            temporary,
            state: Mutex::default(),
            done: Condvar::new(),
        };
        Ok(LocalStage {
            inner: Arc::new(inner),
            target,
            files: files.clone(),
            len,
        })
    }

    pub(crate) fn describe(&self) -> String {
        self.target.display().to_string()
    }

    /// Writes `data` at `offset` and hands every leaf that is now complete to the hashing threads.
    pub(crate) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| self.len.is_none_or(|len| *end <= len))
            .ok_or_else(|| StoreError::misuse(self.describe(), "a write reaches past the declared size"))?;
        if data.is_empty() {
            return Ok(());
        }
        self.inner
            .temporary
            .file()
            .write_all_at(data, offset)
            .map_err(|source| StoreError::io("write", self.target.display(), source))?;
        let complete = self.cover(offset, end)?;
        for leaf in complete {
            self.submit(leaf, self.leaf_len(leaf).unwrap_or(LEAF_BYTES))?;
        }
        Ok(())
    }

    /// Length of leaf `index` if the object's size is known.
    fn leaf_len(&self, index: usize) -> Option<u64> {
        let start = index as u64 * LEAF_BYTES;
        self.len.map(|len| len.saturating_sub(start).min(LEAF_BYTES))
    }

    /// Notes the arrival of `offset..end`; returns the leaves it completed.
    fn cover(&self, offset: u64, end: u64) -> Result<Vec<usize>> {
        let mut state = self.inner.state();
        if let Some(reason) = &state.failure {
            return Err(failed(&self.target, reason));
        }
        let mut complete = Vec::new();
        let mut at = offset;
        while at < end {
            let index = usize::try_from(at / LEAF_BYTES).unwrap_or(usize::MAX);
            let start = index as u64 * LEAF_BYTES;
            let stop = end.min(start + LEAF_BYTES);
            if state.leaves.len() <= index {
                state.leaves.resize_with(index + 1, Leaf::default);
            }
            let full = self.leaf_len(index).unwrap_or(LEAF_BYTES);
            let leaf = &mut state.leaves[index];
            if !leaf.coverage.add(at - start, stop - start) {
                return Err(StoreError::misuse(
                    self.describe(),
                    format!("a byte in {at}..{stop} was written twice"),
                ));
            }
            if leaf.coverage.is(full) && !leaf.queued {
                leaf.queued = true;
                complete.push(index);
            }
            at = stop;
        }
        state.pending += complete.len();
        Ok(complete)
    }

    fn submit(&self, index: usize, len: u64) -> Result<()> {
        let (inner, durability) = (Arc::clone(&self.inner), self.files.durability);
        let submitted = hashing::submit(move || {
            let hashed = hash_range(&inner.temporary, index as u64 * LEAF_BYTES, len);
            let mut state = inner.state();
            match hashed {
                Ok(digest) => state.leaves[index].digest = Some(digest),
                Err(error) => state.failure = Some(format!("reading back for hashing: {error}")),
            }
            state.pending -= 1;
            state.unsynced += len;
            drop(state);
            inner.done.notify_all();
            if durability == Durability::Device {
                sync_early(&inner);
            }
        });
        if submitted.is_err() {
            let mut state = self.inner.state();
            state.pending -= 1;
            // Leaves after this one may never be submitted: nobody may wait for them.
            state.failure = Some("the hashing threads are gone".to_string());
        }
        submitted
    }

    /// Ends the object at `size` bytes: every byte must have arrived. Waits for the hashes.
    pub(crate) fn finish(self, size: u64) -> Result<(Digest, Vec<Digest>, LocalStaged)> {
        let mut short = None;
        {
            let mut state = self.inner.state();
            let count = usize::try_from(pieces(size, LEAF_BYTES)).unwrap_or(usize::MAX);
            if state.leaves.len() > count {
                return Err(StoreError::misuse(
                    self.describe(),
                    "bytes were written past its end",
                ));
            }
            state.leaves.resize_with(count, Leaf::default);
            for (index, leaf) in state.leaves.iter_mut().enumerate() {
                let start = index as u64 * LEAF_BYTES;
                let len = (size - start).min(LEAF_BYTES);
                if let Some(gap) = leaf.coverage.gap(len) {
                    let reason = format!("byte {} was never written", start + gap);
                    return Err(StoreError::misuse(self.describe(), reason));
                }
                if !leaf.queued {
                    leaf.queued = true;
                    short = Some((index, len));
                }
            }
            state.pending += usize::from(short.is_some());
        }
        if let Some((index, len)) = short {
            self.submit(index, len)?;
        }
        let mut state = self.inner.state();
        while state.pending > 0 && state.failure.is_none() {
            state = self
                .inner
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(reason) = &state.failure {
            return Err(failed(&self.target, reason));
        }
        let leaves: Vec<PieceDigest> = state.leaves.iter().filter_map(|leaf| leaf.digest).collect();
        drop(state);
        let (digest, chunks) = from_leaves(&leaves);
        Ok((
            digest,
            chunks,
            LocalStaged {
                inner: self.inner,
                target: self.target,
                files: self.files,
            },
        ))
    }
}

impl LocalStaged {
    /// Makes the bytes durable (if that is asked for); the file keeps its temporary name.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.files.durability == Durability::Device {
            let mut state = self.inner.state();
            while state.syncing {
                state = self
                    .inner
                    .done
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(reason) = &state.failure {
                return Err(failed(&self.target, reason));
            }
            // From here on nobody else syncs, so an error reaches this call.
            state.syncing = true;
            drop(state);
            let synced = self.inner.temporary.file().sync_all();
            synced.map_err(|source| StoreError::io("sync", self.target.display(), source))?;
        }
        Ok(())
    }

    /// Makes the file durable under the name `key`, where no cleaner of dead writers' files takes it.
    ///
    /// The caller holds the lock of the artifact's directory, so nobody removes directories meanwhile.
    pub(crate) fn keep(self, key: &str) -> Result<()> {
        let target = self.files.path_for_writing(key)?;
        self.files.make_directory(parent(&target))?;
        let renamed = self.inner.temporary.rename(&target);
        renamed.map_err(|source| StoreError::io("keep", target.display(), source))?;
        self.files.sync_directory(parent(&target))
    }

    /// Gives the file its name. Returns the directory whose entry must be synced.
    pub(crate) fn publish(self) -> Result<PathBuf> {
        let renamed = self.inner.temporary.rename(&self.target);
        renamed.map_err(|source| StoreError::io("publish", self.target.display(), source))?;
        Ok(parent(&self.target).to_path_buf())
    }
}

/// The error for what went wrong behind the writer's back.
fn failed(target: &Path, reason: &str) -> StoreError {
    let (at, message) = (target.display().to_string(), reason.to_string());
    StoreError::Backend {
        action: "write",
        at,
        message,
        transient: false,
    }
}

/// Lets the device begin with what is complete, if enough has gathered and it is not at it already.
fn sync_early(inner: &Arc<Inner>) {
    let mut state = inner.state();
    if state.syncing || state.unsynced < SYNC_BYTES {
        return;
    }
    state.syncing = true;
    state.unsynced = 0;
    drop(state);
    let syncing = Arc::clone(inner);
    let submitted = hashing::submit_sync(move || {
        let synced = syncing.temporary.file().sync_data();
        let mut state = syncing.state();
        state.syncing = false;
        if let Err(error) = synced {
            // The system tells of a failed write once; a later sync would not know.
            state.failure = Some(format!("sync: {error}"));
        }
        drop(state);
        syncing.done.notify_all();
    });
    if submitted.is_err() {
        inner.state().syncing = false;
    }
}

fn hash_range(temporary: &TemporaryFile, start: u64, len: u64) -> std::io::Result<PieceDigest> {
    let mut hasher = PieceHasher::new(start);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(len).unwrap_or(READ_BYTES))];
    let mut done = 0;
    while done < len {
        let take = usize::try_from(len - done)
            .unwrap_or(READ_BYTES)
            .min(buffer.len());
        temporary
            .file()
            .read_exact_at(&mut buffer[..take], start + done)?;
        hasher.update(&buffer[..take]);
        done += take as u64;
    }
    Ok(hasher.finish())
}
