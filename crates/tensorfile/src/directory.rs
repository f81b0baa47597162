//! The files of a model directory, wherever it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, TensorFileError};
use crate::read_at::{MappedFile, ReadAt};

/// A flat set of named files: a local directory or a prefix of an object store.
pub trait Directory: Send + Sync {
    /// Opens the file `name`.
    ///
    /// # Errors
    /// [`TensorFileError::Read`] with `NotFound` as source if there is none.
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>>;

    /// Names of the files, sorted.
    ///
    /// # Errors
    /// [`TensorFileError::Read`].
    fn list(&self) -> Result<Vec<String>>;

    /// Where this is, for messages.
    fn describe(&self) -> String;

    /// The whole of `name`, or `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Self::open`], and if the file is longer than `limit` bytes.
    fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = format!("{}/{name}", self.describe());
        let reader = match self.open(name) {
            Ok(reader) => reader,
            Err(TensorFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if reader.len() > limit {
            return Err(TensorFileError::malformed(&file, format!("{} bytes, more than the limit of {limit}", reader.len())));
        }
        let mut bytes = vec![0; reader.len() as usize];
        reader.read_at(0, &mut bytes).map_err(|source| TensorFileError::Read { file, source })?;
        Ok(Some(bytes))
    }
}

/// A directory of the local file system.
#[derive(Clone, Debug)]
pub struct LocalDirectory(PathBuf);

impl LocalDirectory {
    /// The directory at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Directory for LocalDirectory {
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        check_file_name(name).map_err(|reason| TensorFileError::malformed(&self.describe(), reason))?;
        Ok(Arc::new(MappedFile::open(&self.0.join(name))?))
    }

    fn list(&self) -> Result<Vec<String>> {
        let read = |source| TensorFileError::Read { file: self.describe(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.path().is_file() && let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

/// Accepts the plain names a model directory may hold: no path parts, nothing a path could hide in.
///
/// # Errors
/// What is wrong with the name.
pub fn check_file_name(name: &str) -> std::result::Result<(), String> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | ':' | '%'));
    if plain { Ok(()) } else { Err(format!("{name:?} is not a plain file name")) }
}
