//! The one error type of this crate.

use tributary_store::StoreError;
use tributary_tensorfile::TensorFileError;

/// Result of every fallible function in this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// Why a model could not be configured, loaded, run or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Reading or writing the model's files failed.
    #[error(transparent)]
    Files(#[from] TensorFileError),
    /// The artifact store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `config.json` is missing, malformed or names something this program has no code for.
    #[error("{place}: {reason}")]
    Config {
        /// The file.
        place: String,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// The tensors do not fit the configuration; every fault, one a line.
    #[error("the tensors of {place} do not fit its config.json:\n{}", faults.join("\n"))]
    Tensors {
        /// The model.
        place: String,
        /// Every fault.
        faults: Vec<String>,
    },
    /// The device asked for is not there.
    #[error("device {device}: {reason}")]
    Device {
        /// As asked for.
        device: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The input does not fit the model.
    #[error("{0}")]
    Input(String),
}
