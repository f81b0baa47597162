//! The one error type of this crate, shaped by what a caller can do about it.

use std::io;

use tributary_store::StoreError;

use crate::compatibility::Incompatibilities;
use crate::config::Problems;
use crate::lora::AdapterFault;

/// Result of every fallible function in this crate.
pub type Result<T, E = MergeError> = std::result::Result<T, E>;

/// Why a merge could not be planned or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The document is wrong; all its mistakes. Correct the document.
    #[error("{0}")]
    Config(Problems),
    /// The models do not fit together; every tensor and field that differs. Choose other models.
    #[error("{0}")]
    Incompatible(Incompatibilities),
    /// A model cannot be opened or read.
    #[error("cannot read model {model}: {reason}")]
    Model {
        /// The model, as the document names it.
        model: String,
        /// Why not.
        reason: String,
    },
    /// A model cannot be reached now. Try again.
    #[error("model {model} cannot be reached now: {reason}")]
    Unavailable {
        /// The model, as the document names it.
        model: String,
        /// What its store says.
        reason: String,
    },
    /// An adapter is not one that is understood, or does not fit its base. Choose another one.
    #[error("adapter {adapter}: {fault}")]
    Adapter {
        /// The adapter.
        adapter: String,
        /// What is wrong with it.
        fault: AdapterFault,
    },
    /// Two models do not differ in anything that was asked for.
    #[error("{model} and {base} are equal in every matrix that was asked for: there is nothing to extract")]
    Equal {
        /// The model.
        model: String,
        /// What it was compared with.
        base: String,
    },
    /// Reading the bytes of a tensor failed.
    #[error("cannot read tensor {tensor} of {model}, bytes {start}..{end}")]
    Read {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
        /// First byte within the tensor.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A tensor holds values the method cannot work with.
    #[error(
        "tensor {tensor} of {model} holds values that are not finite numbers: the norm of its task vector is not defined"
    )]
    NotFinite {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
    },
    /// What was measured of a tensor leaves nothing that the method could do.
    #[error("tensor {tensor}: {reason}")]
    Values {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// The parameters give a tensor no usable value.
    #[error("{method} at tensor {tensor}: {reason}")]
    Parameter {
        /// The method.
        method: &'static str,
        /// The tensor.
        tensor: String,
        /// What is missing.
        reason: String,
    },
    /// The memory allowed is too little for even one block of every model.
    #[error(
        "{allowed} bytes of memory are too few: one block of every model takes {needed} bytes; allow more"
    )]
    Memory {
        /// What was allowed.
        allowed: u64,
        /// What is needed at least.
        needed: u64,
    },
    /// Writing the result failed.
    #[error("cannot write {path}")]
    Write {
        /// The object.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something else where the result should go. Choose another place, or remove it.
    #[error("{at} already holds {what}; choose another place, or remove that first")]
    Occupied {
        /// The place.
        at: String,
        /// What is there.
        what: String,
    },
    /// The caller asked to stop. Nothing was published.
    #[error("the merge was cancelled")]
    Cancelled,
    /// A bug of this program.
    #[error("internal error: {0}")]
    Internal(String),
}
