//! What can go wrong.

use tributary_evaluate::EvaluateError;
use tributary_model::ModelError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, PruneError>;

/// Why layers could not be chosen or healed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// From measuring.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// From the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// As many layers as there are, or more.
    #[error("{removed} of {layers} layers cannot be removed: at least one must stay")]
    TooMany {
        /// How many were to go.
        removed: usize,
        /// How many there are.
        layers: usize,
    },
    /// Choices that exclude each other.
    #[error("{0}")]
    Input(String),
}
