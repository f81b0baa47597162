//! The one error type of this crate: what is wrong with which file, tensor and offset.
//!
//! Names found in a file are printed quoted, escaped and shortened.

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
    #[error("tensor {} in {file} is malformed{}: {reason}", quoted(tensor), at(*.offset))]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Byte of the file at which its data would start, where that is known.
        offset: Option<u64>,
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
    offset
        .map(|offset| format!(" at byte {offset}"))
        .unwrap_or_default()
}

/// A name out of a file, fit to be printed: quoted, control characters escaped, cut after 120 characters.
/// A hostile file chooses its names, and they end up in terminals and logs.
pub(crate) fn quoted(name: &str) -> String {
    const LIMIT: usize = 120;
    match name.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// A text out of a file, or a parser's message that may repeat any part of one, fit to be printed: control characters
/// escaped, cut after 400 characters.
pub fn printable(message: impl std::fmt::Display) -> String {
    const LIMIT: usize = 400;
    let mut text = String::new();
    for letter in message.to_string().chars().take(LIMIT) {
        if letter.is_control() {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

impl TensorFileError {
    pub(crate) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            offset: None,
            reason: reason.into(),
        }
    }

    pub(crate) fn malformed_at(file: &str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            offset: Some(offset),
            reason: reason.into(),
        }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor {
            file: file.to_owned(),
            tensor: tensor.to_owned(),
            offset: None,
            reason: reason.into(),
        }
    }

    pub(crate) fn tensor_at(file: &str, tensor: &str, offset: u64, reason: impl Into<String>) -> Self {
        let (file, tensor) = (file.to_owned(), tensor.to_owned());
        Self::Tensor {
            file,
            tensor,
            offset: Some(offset),
            reason: reason.into(),
        }
    }
}
