//! A remote object as random access bytes.

use std::io;

use tributary_tensorfile::ReadAt;

use crate::error::{Result, StoreError};
use crate::remote::Remote;

/// Bytes of one request; larger reads are several requests side by side.
const REQUEST_BYTES: usize = 8 << 20;
/// Requests in flight for one read.
const IN_FLIGHT: usize = 8;

/// One version of one object: if it is replaced meanwhile, reading fails instead of mixing two.
pub(crate) struct RemoteObject {
    remote: Remote,
    key: String,
    len: u64,
    etag: Option<String>,
}

impl RemoteObject {
    pub(crate) fn open(remote: Remote, key: String) -> Result<Self> {
        match remote.head(&key)? {
            Some(meta) => Ok(Self { remote, key, len: meta.size, etag: meta.etag }),
            None => Err(StoreError::NotFound { at: remote.at(&key) }),
        }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let bytes = self.remote.get_range(&self.key, offset, buffer.len(), self.etag.as_deref())?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

impl ReadAt for RemoteObject {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            let reason = format!("{} bytes at {offset} end behind the object's {}", buffer.len(), self.len);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        if buffer.is_empty() {
            return Ok(());
        }
        if buffer.len() <= REQUEST_BYTES {
            return Ok(self.read(offset, buffer)?);
        }
        // Requests wait on the network, not on a core, so they get threads of their own.
        for (round, wave) in buffer.chunks_mut(REQUEST_BYTES * IN_FLIGHT).enumerate() {
            let start = offset + (round * REQUEST_BYTES * IN_FLIGHT) as u64;
            let results: Vec<Result<()>> = std::thread::scope(|scope| {
                let requests: Vec<_> = wave
                    .chunks_mut(REQUEST_BYTES)
                    .enumerate()
                    .map(|(at, part)| scope.spawn(move || self.read(start + (at * REQUEST_BYTES) as u64, part)))
                    .collect();
                let lost = || Err(StoreError::misuse(self.remote.at(&self.key), "a reading thread died"));
                requests.into_iter().map(|request| request.join().unwrap_or_else(|_| lost())).collect()
            });
            results.into_iter().collect::<Result<Vec<()>>>()?;
        }
        Ok(())
    }
}
