//! The one error type of this crate.

use tributary_model::ModelError;

/// Result of every fallible function in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// Why training could not start, go on or be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The loss or the gradient is no longer a number; nothing of this step was published.
    #[error("step {step}: {what} is {value}; the run stops before a checkpoint of it is published. Documents of the batch: {}", documents.join(", "))]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// "the loss" or "the gradient norm".
        what: &'static str,
        /// The value.
        value: f64,
        /// Ids of the documents in the batch.
        documents: Vec<String>,
    },
}
