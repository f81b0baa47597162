//! Random access bytes: what every reader of this crate reads from.
//!
//! The local forms stand here; the store adds remote objects read by ranged requests.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{Result, TensorFileError};

/// Bytes that can be read at any offset, from several threads at once.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the range ends behind [`Self::len`]; otherwise what the medium reports.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// All bytes, where they are in memory or mapped.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        copy_range(self, offset, buffer)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

fn copy_range(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let range = usize::try_from(offset).ok().and_then(|start| bytes.get(start..start.checked_add(buffer.len())?));
    match range {
        Some(range) => {
            buffer.copy_from_slice(range);
            Ok(())
        }
        None => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} bytes at {offset} end behind the file's {} bytes", buffer.len(), bytes.len()),
        )),
    }
}

/// A local file, mapped into memory; reads of blocks go through `pread`, so that streaming a large
/// file does not count as resident memory.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    map: Option<memmap2::Mmap>,
    len: u64,
}

impl MappedFile {
    /// Opens and maps `path`. An empty file is valid.
    ///
    /// # Errors
    /// [`TensorFileError::Read`] naming the path.
    pub fn open(path: &Path) -> Result<Self> {
        let read = |source| TensorFileError::Read { file: path.display().to_string(), source };
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let len = metadata.len();
        #[expect(unsafe_code)]
        // SAFETY: the map is read-only. Artifacts are written under a temporary name and renamed, never
        // changed in place, so the bytes under the map stay put while it lives.
        let map = if len == 0 { None } else { Some(unsafe { memmap2::Mmap::map(&file) }.map_err(read)?) };
        Ok(Self { file, map, len })
    }
}

impl ReadAt for MappedFile {
    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        copy_range(self.map.as_deref().unwrap_or_default(), offset, buffer)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self.map.as_deref().unwrap_or_default())
    }
}
