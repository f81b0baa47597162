//! The one error type of this crate, shaped by what a caller can do about it.
//!
//! Texts come from outside (servers, file systems), so they pass through [`crate::mask`] before they are kept.

use std::io;

/// Result of every fallible function in this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What went wrong, always with the place (`at` is a masked address of an object or a local path).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address given for a store cannot be used. Fix the address or the environment.
    #[error("cannot use {address:?} as a store: {reason}")]
    Address {
        /// The address, credentials masked.
        address: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A path that could leave the store, or that not every backend can hold.
    #[error("unsafe path {path:?}: {reason}")]
    UnsafePath {
        /// The path as given (shortened when very long).
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// There is no such object.
    #[error("{at} does not exist")]
    NotFound {
        /// The object.
        at: String,
    },
    /// A conditional create found another content under the same key.
    #[error("{at} already exists with other content")]
    Conflict {
        /// The object.
        at: String,
    },
    /// An object was replaced while it was being read.
    #[error("{at} changed while it was being read")]
    Changed {
        /// The object.
        at: String,
    },
    /// The server refused the credentials, or the file system the permission.
    #[error("{action} {at}: access refused: {message}")]
    Denied {
        /// What was being done.
        action: &'static str,
        /// The object.
        at: String,
        /// The server's words, masked.
        message: String,
    },
    /// The local file system failed.
    #[error("{action} {at}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        at: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The object store failed, after the retries it deserved.
    #[error("{action} {at}: {message}")]
    Backend {
        /// What was being done.
        action: &'static str,
        /// The object.
        at: String,
        /// The backend's words, masked.
        message: String,
        /// Whether trying again later may help.
        transient: bool,
    },
    /// A manifest that is broken, hostile or of another format.
    #[error("manifest {at} is not usable: {reason}")]
    Manifest {
        /// The manifest object.
        at: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// Stored bytes differ from what the manifest says.
    #[error("{at} is damaged in bytes {start}..{end}: digest {actual}, the manifest says {expected}")]
    Damaged {
        /// The object.
        at: String,
        /// First byte of the wrong range.
        start: u64,
        /// One past the last byte of the wrong range.
        end: u64,
        /// Digest in the manifest.
        expected: String,
        /// Digest of the stored bytes.
        actual: String,
    },
    /// An artifact is not what was published. Remove it, to have it made or fetched again.
    #[error("{at} is damaged: {}", problems.join("; "))]
    Broken {
        /// The artifact.
        at: String,
        /// What is wrong with which object.
        problems: Vec<String>,
    },
    /// Objects that were finished and kept for a commit are gone. Run again: only they are made again.
    #[error("{at}: finished objects are gone before their commit ({}); run again to have them made again", objects.join(", "))]
    Lost {
        /// The artifact.
        at: String,
        /// The objects.
        objects: Vec<String>,
    },
    /// The caller broke a rule of this interface (a range past the end, a byte written twice, ...).
    #[error("{at}: {reason}")]
    Misuse {
        /// The object.
        at: String,
        /// The rule.
        reason: String,
    },
}

impl StoreError {
    /// Is the cause that the object is not there?
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }

    /// May the same call succeed later without any change on our side?
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Backend { transient: true, .. })
    }

    /// Did another writer get there first?
    pub fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Conflict { .. })
    }

    /// An error of input or output by `action` at `at`. One of ours that travelled through `std::io` comes out as it was.
    pub fn from_io(action: &'static str, at: impl std::fmt::Display, source: io::Error) -> Self {
        match source.downcast::<StoreError>() {
            Ok(error) => error,
            Err(source) => StoreError::io(action, at, source),
        }
    }

    pub(crate) fn io(action: &'static str, at: impl std::fmt::Display, source: io::Error) -> Self {
        let at = crate::mask(&at.to_string());
        match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { at },
            io::ErrorKind::PermissionDenied => StoreError::Denied {
                action,
                at,
                message: source.to_string(),
            },
            _ => StoreError::Io { action, at, source },
        }
    }

    pub(crate) fn misuse(at: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        StoreError::Misuse {
            at: at.to_string(),
            reason: reason.into(),
        }
    }
}

/// For callers behind `std::io` traits: keeps the kind a reader would act on and the whole text.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        let kind = match &error {
            StoreError::NotFound { .. } => io::ErrorKind::NotFound,
            StoreError::Denied { .. } => io::ErrorKind::PermissionDenied,
            StoreError::Damaged { .. } | StoreError::Broken { .. } | StoreError::Manifest { .. } => {
                io::ErrorKind::InvalidData
            }
            StoreError::UnsafePath { .. } | StoreError::Misuse { .. } => io::ErrorKind::InvalidInput,
            StoreError::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
