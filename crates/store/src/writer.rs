//! Writing one object: in order ([`ObjectWriter`]) or by position ([`RegionWriter`]).
//!
//! Both hash what they write (see `digest`) and show nothing before they are finished; dropping one discards it.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::{Result, StoreError};
use crate::local_stage::{LocalStage, LocalStaged};
use crate::remote_stage::{RemoteStage, RemoteStaged};
use crate::remote_upload::KeptUpload;
use crate::store::{Backend, Store};

/// Small writes are gathered up to this many bytes.
const GATHER_BYTES: usize = 1 << 20;

/// Writes bytes of one object at any position, from any thread, each byte exactly once.
pub trait PositionedWriter: Send + Sync {
    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] if a byte is written twice or lies past the declared size; what the backend says, possibly
    /// about an earlier write.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;

    /// Ends the object, of which every byte must have been written, and puts it in its place.
    ///
    /// For an object of an artifact use `Publication::add` instead, which shows it together with the others.
    fn finish(self: Box<Self>) -> Result<Written>;
}

/// A finished object as a manifest records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Key within the store it was written to.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The ordinary BLAKE3 digest of all bytes.
    pub blake3: Digest,
    /// One value for each [`crate::CHUNK_BYTES`]; see the manifest.
    pub chunks: Vec<Digest>,
}

impl Written {
    #[cfg(test)]
    pub(crate) fn of(path: &str, bytes: &[u8]) -> Written {
        let digest = Digest::of(bytes);
        Written {
            path: path.to_string(),
            size: bytes.len() as u64,
            blake3: digest,
            chunks: vec![digest],
        }
    }
}

/// An object under construction, on either kind of backend.
pub(crate) enum Stage {
    Local(LocalStage),
    Remote(RemoteStage),
}

/// A complete object that nobody can see yet; dropped, it is discarded.
pub(crate) struct Staged {
    pub(crate) written: Written,
    bytes: StagedBytes,
}

enum StagedBytes {
    Local(LocalStaged),
    Remote(RemoteStaged),
}

impl Staged {
    /// Makes the bytes durable as far as the store promises, still unseen.
    pub(crate) fn sync(&self) -> Result<()> {
        match &self.bytes {
            StagedBytes::Local(staged) => staged.sync(),
            StagedBytes::Remote(_) => Ok(()),
        }
    }

    /// Puts the object in its place. Returns the local directory that got a new entry, which is not synced yet.
    /// `shared`: see [`RemoteStaged::publish`].
    pub(crate) fn publish(self, shared: bool) -> Result<(Written, Option<PathBuf>)> {
        match self.bytes {
            StagedBytes::Local(staged) => Ok((self.written, Some(staged.publish()?))),
            StagedBytes::Remote(staged) => staged.publish(shared).map(|()| (self.written, None)),
        }
    }

    /// Lets the bytes outlive this process, unseen: synced before, as the local file `data`, on servers as an upload.
    pub(crate) fn keep(self, data: &str) -> Result<Option<KeptUpload>> {
        match self.bytes {
            StagedBytes::Local(staged) => staged.keep(data).map(|()| None),
            StagedBytes::Remote(staged) => staged.keep(),
        }
    }

    /// Bytes held in memory until publication.
    pub(crate) fn held_bytes(&self) -> u64 {
        match &self.bytes {
            StagedBytes::Local(_) => 0,
            StagedBytes::Remote(staged) => staged.held_bytes(),
        }
    }

    /// Frees that memory: the bytes go to the server, still unseen.
    pub(crate) fn unload(&mut self) -> Result<()> {
        match &mut self.bytes {
            StagedBytes::Local(_) => Ok(()),
            StagedBytes::Remote(staged) => staged.unload(),
        }
    }

    /// A lone object: durable and in its place.
    fn settle(self, store: &Store) -> Result<Written> {
        self.sync()?;
        let (written, directory) = self.publish(false)?;
        if let (Backend::Local(files), Some(directory)) = (&store.backend, directory) {
            files.sync_directory(&directory)?;
        }
        Ok(written)
    }
}

impl Stage {
    pub(crate) fn begin(store: &Store, path: &str, len: Option<u64>) -> Result<Stage> {
        let full = store.full(path)?;
        Ok(match &store.backend {
            Backend::Local(files) => Stage::Local(LocalStage::begin(files, &full, len)?),
            Backend::Remote(remote) => Stage::Remote(RemoteStage::begin(remote, &full, len)),
        })
    }

    pub(crate) fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        match self {
            Stage::Local(stage) => stage.write_at(offset, data),
            Stage::Remote(stage) => stage.write_at(offset, data),
        }
    }

    pub(crate) fn finish(self, path: String, size: u64) -> Result<Staged> {
        let (blake3, chunks, bytes) = match self {
            Stage::Local(stage) => {
                let (digest, chunks, staged) = stage.finish(size)?;
                (digest, chunks, StagedBytes::Local(staged))
            }
            Stage::Remote(stage) => {
                let (digest, chunks, staged) = stage.finish(size)?;
                (digest, chunks, StagedBytes::Remote(staged))
            }
        };
        Ok(Staged {
            written: Written {
                path,
                size,
                blake3,
                chunks,
            },
            bytes,
        })
    }

    fn describe(&self) -> String {
        match self {
            Stage::Local(stage) => stage.describe(),
            Stage::Remote(stage) => stage.describe(),
        }
    }
}

/// Appends to a stage, gathering small writes.
pub(crate) struct Appender {
    /// `None` after a failure: what was written is incomplete, so nothing may be finished.
    stage: Option<Stage>,
    path: String,
    position: u64,
    gathered: Vec<u8>,
}

impl Appender {
    pub(crate) fn begin(store: &Store, path: &str) -> Result<Appender> {
        let stage = Some(Stage::begin(store, path, None)?);
        Ok(Appender {
            stage,
            path: path.to_string(),
            position: 0,
            gathered: Vec::new(),
        })
    }

    fn append(&mut self, data: &[u8]) -> Result<()> {
        if self.gathered.len() + data.len() >= GATHER_BYTES {
            self.flush()?;
        }
        if data.len() >= GATHER_BYTES {
            return self.send(data);
        }
        self.gathered.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let sent = self.send(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        sent
    }

    fn send(&mut self, data: &[u8]) -> Result<()> {
        let stage = self.stage.take();
        let stage = stage.ok_or_else(|| StoreError::misuse(&self.path, "writing goes on after a failure"))?;
        stage.write_at(self.position, data)?;
        self.position += data.len() as u64;
        self.stage = Some(stage);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Staged> {
        self.flush()?;
        let stage = self.stage.take();
        let stage = stage.ok_or_else(|| StoreError::misuse(&self.path, "writing had failed"))?;
        stage.finish(self.path, self.position)
    }
}

impl Write for Appender {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.append(data)?;
        Ok(data.len())
    }

    /// Does nothing: nothing is visible before the end anyway.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one object of a store from beginning to end.
pub struct ObjectWriter {
    appender: Appender,
    store: Store,
}

impl ObjectWriter {
    pub(crate) fn begin(store: &Store, key: &str) -> Result<ObjectWriter> {
        Ok(ObjectWriter {
            appender: Appender::begin(store, key)?,
            store: store.clone(),
        })
    }

    /// Ends the object and puts it in its place in one step, replacing what was there.
    pub fn finish(self) -> Result<Written> {
        self.appender.finish()?.settle(&self.store)
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.appender.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one object by position, from several threads.
///
/// On local stores a file of the declared size, on others a multipart upload whose parts are numbered by position: in
/// memory are only parts that are not complete, so write mostly in order.
pub struct RegionWriter {
    stage: Stage,
    path: String,
    len: u64,
    store: Store,
}

impl RegionWriter {
    pub(crate) fn begin(store: &Store, path: &str, len: u64) -> Result<RegionWriter> {
        let stage = Stage::begin(store, path, Some(len))?;
        Ok(RegionWriter {
            stage,
            path: path.to_string(),
            len,
            store: store.clone(),
        })
    }

    /// Ends the object without showing it.
    pub(crate) fn stage(self) -> Result<Staged> {
        self.stage.finish(self.path, self.len)
    }

    /// The declared size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is the declared size zero?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it will be, for messages.
    pub fn describe(&self) -> String {
        self.stage.describe()
    }
}

impl PositionedWriter for RegionWriter {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.stage.write_at(offset, data)
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let store = self.store.clone();
        self.stage()?.settle(&store)
    }
}
