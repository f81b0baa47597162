//! The files of a model directory, wherever it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Result, TensorFileError, quoted};
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
            Err(TensorFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if reader.len() > limit {
            return Err(TensorFileError::malformed(
                &file,
                format!("{} bytes, more than the limit of {limit}", reader.len()),
            ));
        }
        let mut bytes = vec![0; reader.len() as usize];
        reader
            .read_at(0, &mut bytes)
            .map_err(|source| TensorFileError::Read { file, source })?;
        Ok(Some(bytes))
    }
}

/// A directory of the local file system. Symbolic links in it are followed, because Hugging Face's cache is made
/// of them; names are always plain, so only what the directory's owner put there is opened.
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
        let read = |source| TensorFileError::Read {
            file: self.describe(),
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.path().is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
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

/// Names Windows gives to devices, with or without an ending.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Accepts the plain names a model directory may hold: no path parts, nothing a path could hide in
/// (separators of any system, control characters, percent-encoding), and no device.
///
/// # Errors
/// What is wrong with the name.
pub fn check_file_name(name: &str) -> std::result::Result<(), String> {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_lowercase();
    let port = |kind: &str| {
        stem.strip_prefix(kind)
            .is_some_and(|number| number.chars().count() == 1 && number != "0")
    };
    let hides = |letter: char| letter.is_control() || matches!(letter, '/' | '\\' | ':' | '%');
    let refused = name.is_empty()
        || name.len() > 255
        || matches!(name, "." | "..")
        || name.chars().any(hides)
        || DEVICES.contains(&stem.as_str())
        || port("com")
        || port("lpt");
    if refused {
        Err(format!("{} is not a plain file name", quoted(name)))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(256);
        let bad = [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../model.safetensors",
            "a/b",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            "%2e%2e",
            "NUL",
            "com1.safetensors",
            "lpt9",
            "aux.json",
            &long,
        ];
        for name in bad {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        for name in [
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            "..x",
            "command.txt",
            "com12",
            "\u{30e2}",
        ] {
            check_file_name(name).unwrap();
        }
    }

    #[test]
    fn files_are_listed_sorted_and_folders_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::create_dir(folder.path().join("c")).unwrap();
        let directory = LocalDirectory::new(folder.path());
        assert_eq!(directory.list().unwrap(), ["a", "b"]);
        assert_eq!(directory.open("b").unwrap().as_slice(), Some(&b"b"[..]));
        assert_eq!(directory.read_small("z", 1).unwrap(), None);
        assert!(directory.read_small("a", 0).is_err());
        assert!(directory.open("c").is_err());
        assert!(directory.open("../a").is_err());
    }
}
