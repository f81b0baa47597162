//! Writing one object: hashed on the way, visible only when finished.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::{MultipartUpload, PutPayload};

use crate::digest::{Digest, LEAF_BYTES, PieceDigest, PieceHasher, from_leaves, pieces};
use crate::error::{Result, StoreError};
use crate::hashing;
use crate::local::{Durability, LocalFiles, parent};
use crate::lock::TemporaryFile;
use crate::remote::Remote;
use crate::runtime::{block_on, spawn};
use crate::store::{Backend, Store};

/// A finished object as a manifest records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Path below the store it was written to.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of all bytes.
    pub blake3: Digest,
    /// BLAKE3 chaining value of each chunk of [`crate::CHUNK_BYTES`].
    pub chunks: Vec<Digest>,
}

impl Written {
    pub(crate) fn of(path: &str, bytes: &[u8]) -> Self {
        let leaves: Vec<PieceDigest> = bytes
            .chunks(LEAF_BYTES as usize)
            .enumerate()
            .map(|(at, leaf)| PieceHasher::of(at as u64 * LEAF_BYTES, leaf))
            .collect();
        let (blake3, chunks) = from_leaves(&leaves);
        Self { path: path.to_owned(), size: bytes.len() as u64, blake3, chunks }
    }
}

/// Parts of a multipart upload in flight.
const IN_FLIGHT: usize = 4;

/// An object written from front to back through [`Write`]; nothing is visible before [`Self::finish`], and
/// dropping it unfinished leaves nothing.
pub struct ObjectWriter {
    path: String,
    leaf: Vec<u8>,
    leaves: Vec<PieceDigest>,
    size: u64,
    sink: Sink,
}

enum Sink {
    Local { files: LocalFiles, target: PathBuf, temporary: TemporaryFile },
    Remote(RemoteUpload),
}

impl ObjectWriter {
    pub(crate) fn begin(store: &Store, path: &str) -> Result<Self> {
        let key = store.key(path)?;
        let sink = match &*store.backend {
            Backend::Local(files) => {
                let target = files.path_for_writing(&key)?;
                let temporary = files.temporary_beside(&target)?;
                Sink::Local { files: files.clone(), target, temporary }
            }
            Backend::Remote(remote) => Sink::Remote(RemoteUpload::new(remote.clone(), key)),
        };
        Ok(Self { path: path.to_owned(), leaf: Vec::new(), leaves: Vec::new(), size: 0, sink })
    }

    /// Makes the object visible.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible then.
    pub fn finish(mut self) -> Result<Written> {
        if !self.leaf.is_empty() {
            self.flush_leaf(true)?;
        }
        match self.sink {
            Sink::Local { files, target, temporary } => settle(&files, temporary, &target)?,
            Sink::Remote(upload) => upload.finish()?,
        }
        let (blake3, chunks) = from_leaves(&self.leaves);
        Ok(Written { path: self.path, size: self.size, blake3, chunks })
    }

    fn flush_leaf(&mut self, last: bool) -> Result<()> {
        let offset = self.leaves.len() as u64 * LEAF_BYTES;
        self.leaves.push(PieceHasher::of(offset, &self.leaf));
        match &mut self.sink {
            Sink::Local { target, temporary, .. } => {
                let fail = |source| StoreError::io("write", target.display(), source);
                temporary.file().write_all_at(&self.leaf, offset).map_err(fail)?;
                self.leaf.clear();
            }
            Sink::Remote(upload) => upload.part(std::mem::take(&mut self.leaf), last)?,
        }
        Ok(())
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LEAF_BYTES as usize - self.leaf.len();
        let taken = bytes.len().min(room);
        self.leaf.extend_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        if self.leaf.len() == LEAF_BYTES as usize {
            self.flush_leaf(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Syncs a temporary file as far as the store promises and gives it its name.
fn settle(files: &LocalFiles, temporary: TemporaryFile, target: &std::path::Path) -> Result<()> {
    let fail = |source| StoreError::io("write", target.display(), source);
    if files.durability == Durability::Device {
        temporary.file().sync_all().map_err(fail)?;
    }
    temporary.rename(target).map_err(fail)?;
    files.sync_directory(parent(target))
}

/// A remote object on its way: one put if it fits one part, else a multipart upload.
struct RemoteUpload {
    remote: Remote,
    key: String,
    upload: Option<Box<dyn MultipartUpload>>,
    /// The only part so far, in case there is no other.
    held: Option<Vec<u8>>,
    flying: Vec<tokio::task::JoinHandle<object_store::Result<()>>>,
    done: bool,
}

impl RemoteUpload {
    fn new(remote: Remote, key: String) -> Self {
        Self { remote, key, upload: None, held: None, flying: Vec::new(), done: false }
    }

    fn part(&mut self, bytes: Vec<u8>, last: bool) -> Result<()> {
        if self.upload.is_none() && self.held.is_none() && last {
            self.held = Some(bytes);
            return Ok(());
        }
        if self.upload.is_none() && self.held.is_none() {
            // A first full part may still be the last one: wait for the second before choosing.
            self.held = Some(bytes);
            return Ok(());
        }
        if let Some(first) = self.held.take() {
            self.upload = Some(self.remote.begin_multipart(&self.key)?);
            self.send(first)?;
        }
        self.send(bytes)
    }

    fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        if self.flying.len() >= IN_FLIGHT {
            let oldest = self.flying.remove(0);
            self.wait(oldest)?;
        }
        let upload = self.upload.as_mut().ok_or_else(|| StoreError::misuse(&self.key, "no upload has begun"))?;
        let part: BoxFuture<'static, object_store::Result<()>> = upload.put_part(PutPayload::from(Bytes::from(bytes)));
        self.flying.push(spawn(part)?);
        Ok(())
    }

    fn wait(&self, part: tokio::task::JoinHandle<object_store::Result<()>>) -> Result<()> {
        match block_on(part)? {
            Ok(result) => result.map_err(|error| self.remote.fail("write", &self.key, &error)),
            Err(_) => Err(StoreError::misuse(self.remote.at(&self.key), "an uploading task died")),
        }
    }

    fn finish(mut self) -> Result<()> {
        match self.upload.take() {
            None => self.remote.put(&self.key, Bytes::from(self.held.take().unwrap_or_default()))?,
            Some(mut upload) => {
                for part in std::mem::take(&mut self.flying) {
                    let arrived = self.wait(part);
                    if arrived.is_err() {
                        self.upload = Some(upload);
                        return arrived;
                    }
                }
                let completed = block_on(upload.complete())?;
                if let Err(error) = completed {
                    let failure = self.remote.fail("write", &self.key, &error);
                    self.upload = Some(upload);
                    return Err(failure);
                }
            }
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if !self.done && let Some(mut upload) = self.upload.take() {
            // Parts of an abandoned upload cost money; failing to remove them is not worth an error here.
            let _ = block_on(upload.abort());
        }
    }
}

/// An object of known length written in any order, from any number of threads.
pub trait PositionedWriter: Send + Sync {
    /// Writes `bytes` at `offset`. Every byte of the object is written exactly once.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misuse`] if the range leaves the object.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes the object visible.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misuse`] if bytes are missing.
    fn finish(self: Box<Self>) -> Result<Written>;
}

/// The [`PositionedWriter`] of a store. A leaf is hashed as soon as its last byte has arrived. A remote object
/// is gathered in a local temporary file and uploaded when finished, because parts must be sent in order.
pub struct RegionWriter {
    path: String,
    size: u64,
    remaining: Vec<AtomicU64>,
    file: Arc<TemporaryFile>,
    target: Target,
    results: Mutex<(Sender<LeafResult>, Receiver<LeafResult>)>,
    /// Keeps the folder of a remote object's temporary file alive.
    _folder: Option<tempfile::TempDir>,
}

type LeafResult = (usize, io::Result<PieceDigest>);

enum Target {
    Local(LocalFiles, PathBuf),
    Remote(Remote, String),
}

impl RegionWriter {
    pub(crate) fn begin(store: &Store, path: &str, size: u64) -> Result<Self> {
        let key = store.key(path)?;
        let (target, file, folder) = match &*store.backend {
            Backend::Local(files) => {
                let target = files.path_for_writing(&key)?;
                let file = files.temporary_beside(&target)?;
                (Target::Local(files.clone(), target), file, None)
            }
            Backend::Remote(remote) => {
                let folder = tempfile::tempdir()
                    .map_err(|source| StoreError::io("create a temporary folder in", std::env::temp_dir().display(), source))?;
                let file = TemporaryFile::create(folder.path(), || Ok(()))?;
                (Target::Remote(remote.clone(), key), file, Some(folder))
            }
        };
        file.file().set_len(size).map_err(|source| StoreError::io("reserve", file.path().display(), source))?;
        let leaves = pieces(size, LEAF_BYTES);
        let remaining = (0..leaves).map(|leaf| AtomicU64::new((size - leaf * LEAF_BYTES).min(LEAF_BYTES))).collect();
        Ok(Self {
            path: path.to_owned(),
            size,
            remaining,
            file: Arc::new(file),
            target,
            results: Mutex::new(channel()),
            _folder: folder,
        })
    }

    fn hash_leaf(&self, leaf: usize) -> Result<()> {
        let file = Arc::clone(&self.file);
        let offset = leaf as u64 * LEAF_BYTES;
        let len = (self.size - offset).min(LEAF_BYTES) as usize;
        let sender = self.results.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        hashing::submit(move || {
            /// Bytes read at a time: small enough to stay in the cache between reading and hashing.
            const READ: usize = 256 << 10;
            let mut buffer = vec![0; READ.min(len)];
            let mut hasher = PieceHasher::new(offset);
            let mut at = 0;
            let outcome = loop {
                if at == len {
                    break Ok(hasher.finish());
                }
                let count = READ.min(len - at);
                if let Err(error) = file.file().read_exact_at(&mut buffer[..count], offset + at as u64) {
                    break Err(error);
                }
                hasher.update(&buffer[..count]);
                at += count;
            };
            // The receiver is gone only if the writer was dropped.
            let _ = sender.send((leaf, outcome));
        })
    }
}

impl PositionedWriter for RegionWriter {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| {
            StoreError::misuse(&self.path, format!("{} bytes at {offset} leave the object's {}", bytes.len(), self.size))
        })?;
        let fail = |source| StoreError::io("write", self.file.path().display(), source);
        self.file.file().write_all_at(bytes, offset).map_err(fail)?;
        let mut at = offset;
        while at < end {
            let leaf = at / LEAF_BYTES;
            let stop = end.min((leaf + 1) * LEAF_BYTES);
            let left = &self.remaining[leaf as usize];
            let before = left.fetch_sub(stop - at, Ordering::AcqRel);
            if before < stop - at {
                return Err(StoreError::misuse(&self.path, format!("bytes of {at}..{stop} were written twice")));
            }
            if before == stop - at {
                self.hash_leaf(leaf as usize)?;
            }
            at = stop;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        if let Some(leaf) = self.remaining.iter().position(|left| left.load(Ordering::Acquire) != 0) {
            let start = leaf as u64 * LEAF_BYTES;
            return Err(StoreError::misuse(&self.path, format!("bytes near {start} were never written")));
        }
        let mut leaves = vec![None; self.remaining.len()];
        {
            let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            for _ in 0..leaves.len() {
                let (leaf, digest) = results.1.recv().map_err(|_| StoreError::misuse(&self.path, "hashing ended early"))?;
                leaves[leaf] = Some(digest.map_err(|source| StoreError::io("hash", self.file.path().display(), source))?);
            }
        }
        let leaves: Vec<PieceDigest> = leaves.into_iter().flatten().collect();
        let (blake3, chunks) = from_leaves(&leaves);
        let this = *self;
        // A hashing job lets go of the file a moment after it sent its result.
        let mut file = this.file;
        let file = loop {
            match Arc::try_unwrap(file) {
                Ok(file) => break file,
                Err(shared) => {
                    std::thread::yield_now();
                    file = shared;
                }
            }
        };
        match this.target {
            Target::Local(files, target) => settle(&files, file, &target)?,
            Target::Remote(remote, key) => upload(remote, key, &file, this.size)?,
        }
        Ok(Written { path: this.path, size: this.size, blake3, chunks })
    }
}

fn upload(remote: Remote, key: String, file: &TemporaryFile, size: u64) -> Result<()> {
    let mut upload = RemoteUpload::new(remote, key);
    let mut at = 0;
    while at < size {
        let count = (size - at).min(LEAF_BYTES);
        let mut part = vec![0; count as usize];
        let fail = |source| StoreError::io("read", file.path().display(), source);
        file.file().read_exact_at(&mut part, at).map_err(fail)?;
        at += count;
        upload.part(part, at == size)?;
    }
    upload.finish()
}
