//! Reading one remote object at any offset, by ranged GETs.

use std::io;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tributary_tensorfile::ReadAt;

use crate::error::{Result, StoreError};
use crate::remote::{Remote, object_path};
use crate::runtime::block_on;

/// Bytes of one GET; larger reads are split.
const RANGE_BYTES: usize = 8 << 20;
/// GETs of one read that are under way together.
const IN_FLIGHT: usize = 8;

/// One version of one remote object. If the object is replaced, reads fail instead of mixing versions.
pub(crate) struct RemoteObject {
    remote: Arc<Remote>,
    key: String,
    len: u64,
    etag: Option<String>,
}

impl RemoteObject {
    /// Finds size and version of `key`.
    pub(crate) fn open(remote: &Arc<Remote>, key: &str) -> Result<RemoteObject> {
        let meta = remote
            .head(key)?
            .ok_or_else(|| StoreError::NotFound { at: remote.at(key) })?;
        Ok(RemoteObject {
            remote: Arc::clone(remote),
            key: key.to_string(),
            len: meta.size,
            etag: meta.etag,
        })
    }

    /// Fills `buffer` from `offset` on, in several GETs at once if it is large.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            let reason = format!(
                "{} bytes from {offset} on do not lie within its {}",
                buffer.len(),
                self.len
            );
            return Err(StoreError::misuse(self.remote.at(&self.key), reason));
        }
        let read = block_on(async {
            let path = object_path(&self.key)?;
            let pieces = buffer.chunks_mut(RANGE_BYTES).enumerate().map(|(index, piece)| {
                let start = offset + (index * RANGE_BYTES) as u64;
                self.remote.read_into(&path, start, piece, self.etag.as_deref())
            });
            stream::iter(pieces)
                .buffer_unordered(IN_FLIGHT)
                .try_collect::<()>()
                .await
        })?;
        read.map_err(|error| self.remote.error("read", &self.key, &error))
    }
}

impl ReadAt for RemoteObject {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.read(offset, buf) {
            Err(StoreError::Misuse { at, reason }) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{at}: {reason}"),
            )),
            other => other.map_err(io::Error::from),
        }
    }
}
