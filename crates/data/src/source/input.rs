//! The bytes of one file, by range, wherever they lie.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tributary_store::Store;

use crate::error::{Error, Result};

type ReadAt = dyn Fn(u64, &mut [u8]) -> io::Result<()> + Send + Sync;

/// A file to read records from: in memory, on a disk or in object storage.
#[derive(Clone)]
pub struct Input {
    name: String,
    len: u64,
    read_at: Arc<ReadAt>,
}

impl Input {
    /// Bytes in memory; `name` is for messages.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        let len = bytes.len() as u64;
        let read_at = move |offset: u64, buffer: &mut [u8]| {
            let part = usize::try_from(offset)
                .ok()
                .and_then(|begin| bytes.get(begin..begin.checked_add(buffer.len())?));
            buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        Self {
            name: name.into(),
            len,
            read_at: Arc::new(read_at),
        }
    }

    /// An object of a store: mapped if it is a local file, else read by ranged requests.
    pub fn from_store(store: &Store, key: &str) -> Result<Self> {
        let reader = store.reader(key)?;
        let len = reader.len();
        let name = store.describe(key);
        Ok(Self {
            name,
            len,
            read_at: Arc::new(move |offset, buffer| reader.read_at(offset, buffer)),
        })
    }

    /// The file's name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset`.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (self.read_at)(offset, buffer)
    }

    /// Bytes `begin..begin + len`.
    pub(super) fn range(&self, begin: u64, len: usize) -> Result<Bytes> {
        if begin.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(self.failed(begin, io::ErrorKind::UnexpectedEof.into()));
        }
        let mut buffer = vec![0; len];
        self.read_at(begin, &mut buffer)
            .map_err(|err| self.failed(begin, err))?;
        Ok(buffer.into())
    }

    pub(super) fn failed(&self, offset: u64, source: io::Error) -> Error {
        Error::Read {
            path: self.name.clone(),
            offset,
            source,
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
