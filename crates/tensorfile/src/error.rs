//! The one error type of this crate: what is wrong with which file, tensor and offset.

use std::io;

/// Result of every fallible function in this crate.
pub type Result<T, E = TensorFileError> = std::result::Result<T, E>;

/// Why a tensor file could not be read, planned or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFileError {
    /// The file cannot be opened or read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write {file}: {source}")]
    Write {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The directory holds no model this crate knows.
    #[error("{directory} holds neither model.safetensors nor model.safetensors.index.json")]
    NoModel {
        /// The directory.
        directory: String,
    },
    /// The file breaks its format.
    #[error("{file} is malformed{}: {reason}", at(*.offset))]
    Malformed {
        /// The file.
        file: String,
        /// Byte at which the fault was seen, where that is one place.
        offset: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// One tensor of the file breaks the format.
    #[error("tensor {tensor} in {file} is malformed: {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// The elements cannot be converted to or from f32.
    #[error("cannot convert {dtype} elements: {reason}")]
    Convert {
        /// Name of the element type.
        dtype: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The format is right but this program has no reader for what it holds.
    #[error("{file} is not supported: {reason}")]
    Unsupported {
        /// The file.
        file: String,
        /// What is missing, and what would be accepted.
        reason: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}

impl TensorFileError {
    pub(crate) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), offset: None, reason: reason.into() }
    }

    pub(crate) fn malformed_at(file: &str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), offset: Some(offset), reason: reason.into() }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), reason: reason.into() }
    }
}
