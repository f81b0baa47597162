//! Reads the head of a GGUF file front to back, from a map or through a window of a remote file.
//!
//! Every length is held against what is left of the file, and against a limit, before it is believed.

use crate::error::{Result, TensorFileError};
use crate::read_at::ReadAt;

/// Metadata and tensor table together may take this much; a vocabulary of a million tokens takes about 40 MB.
const MAX_HEAD_BYTES: u64 = 256 << 20;
/// The longest string.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// Bytes fetched at once from a file that is not in memory.
const WINDOW_BYTES: u64 = 1 << 20;

/// A place in the head of a file.
pub(super) struct Cursor<'a> {
    name: &'a str,
    file: &'a dyn ReadAt,
    /// Where the next byte is read.
    at: u64,
    /// End of what may be read.
    end: u64,
    /// Bytes of the file from `window_start` on; unused for a file in memory.
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(name: &'a str, file: &'a dyn ReadAt) -> Self {
        Self {
            name,
            file,
            at: 0,
            end: file.len().min(MAX_HEAD_BYTES),
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// Where the next byte is read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that can still be read.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// A fault at this place.
    pub(super) fn fault(&self, reason: impl Into<String>) -> TensorFileError {
        TensorFileError::malformed_at(self.name, self.at, reason)
    }

    fn take(&mut self, count: u64) -> Result<&[u8]> {
        if count > self.left() {
            let reason = if self.end < self.file.len() {
                format!("metadata and tensor table take more than {MAX_HEAD_BYTES} bytes")
            } else {
                format!(
                    "{count} bytes are needed and {} are left: the file is truncated",
                    self.left()
                )
            };
            return Err(self.fault(reason));
        }
        let start = self.at;
        self.at += count;
        if let Some(bytes) = self.file.as_slice() {
            // The range was just held against the file's length.
            return Ok(&bytes[start as usize..self.at as usize]);
        }
        let have = self.window_start + self.window.len() as u64;
        if start < self.window_start || self.at > have {
            let length = count.max(WINDOW_BYTES).min(self.end - start);
            self.window.resize(length as usize, 0);
            self.window_start = start;
            let read = |source| TensorFileError::Read {
                file: self.name.to_owned(),
                source,
            };
            self.file.read_at(start, &mut self.window).map_err(read)?;
        }
        let from = (start - self.window_start) as usize;
        Ok(&self.window[from..from + count as usize])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things of which each takes at least `size` bytes of the file.
    pub(super) fn count(&mut self, what: &str, size: u64, limit: u64) -> Result<u64> {
        let count = self.u64()?;
        if count > limit {
            return Err(self.fault(format!("{count} {what}, more than {limit}")));
        }
        if count.saturating_mul(size) > self.left() {
            return Err(self.fault(format!(
                "{count} {what} do not fit the {} bytes left",
                self.left()
            )));
        }
        Ok(count)
    }

    fn text_bytes(&mut self) -> Result<&[u8]> {
        let length = self.count("bytes of text", 1, MAX_TEXT_BYTES)?;
        self.take(length)
    }

    /// A string of a value; bytes that are not UTF-8 are replaced.
    pub(super) fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(self.text_bytes()?).into_owned())
    }

    /// A key or the name of a tensor, which must be UTF-8.
    pub(super) fn name(&mut self) -> Result<String> {
        let start = self.at;
        let bytes = self.text_bytes()?.to_vec();
        String::from_utf8(bytes)
            .map_err(|_| TensorFileError::malformed_at(self.name, start, "a name that is not UTF-8"))
    }
}
