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
    let range = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get(start..start.checked_add(buffer.len())?));
    match range {
        Some(range) => {
            buffer.copy_from_slice(range);
            Ok(())
        }
        None => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "{} bytes at {offset} end behind the file's {} bytes",
                buffer.len(),
                bytes.len()
            ),
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
        let read = |source| TensorFileError::Read {
            file: path.display().to_string(),
            source,
        };
        // Asked before opening, because opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(read)?.is_file() {
            return Err(read(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )));
        }
        let file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        #[expect(unsafe_code)]
        // SAFETY: the map is read-only. Artifacts are written under a temporary name and renamed, never
        // changed in place, so the bytes under the map stay put while it lives.
        let map = if len == 0 {
            None
        } else {
            Some(unsafe { memmap2::Mmap::map(&file) }.map_err(read)?)
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_outside_the_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("three");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        let files: [Box<dyn ReadAt>; 2] = [
            Box::new(vec![1u8, 2, 3]),
            Box::new(MappedFile::open(&path).unwrap()),
        ];
        for file in files {
            let mut two = [0; 2];
            file.read_at(1, &mut two).unwrap();
            assert_eq!(two, [2, 3]);
            assert_eq!(file.as_slice(), Some(&[1u8, 2, 3][..]));
            for offset in [2, 3, 4, u64::MAX] {
                assert!(file.read_at(offset, &mut two).is_err(), "{offset}");
            }
            file.read_at(3, &mut []).unwrap();
        }
    }

    #[test]
    fn an_empty_file_opens_and_a_folder_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        assert!(MappedFile::open(&path).unwrap().is_empty());
        assert!(MappedFile::open(folder.path()).is_err());
        assert!(MappedFile::open(&folder.path().join("none")).is_err());
    }
}
