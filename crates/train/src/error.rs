//! The one error type of this crate.

use tributary_model::ModelError;
use tributary_store::StoreError;

/// Result of every fallible function in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// Why training could not start, go on or be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data failed, or a cursor does not belong to it.
    #[error(transparent)]
    Data(#[from] tributary_data::Error),
    /// Checkpoints could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An option has a value that cannot work.
    #[error("{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is the matter, and what would be right.
        problem: String,
    },
    /// A training state is damaged or belongs to something else.
    #[error("{place}: {reason}")]
    State {
        /// Where it lies.
        place: String,
        /// What is the matter.
        reason: String,
    },
    /// The loss or the gradient is no longer a number; nothing of this step was published.
    #[error("step {step}: {what} is {value}; the run stops before anything of it is published. Lower the learning rate, or look at the documents of the batch: {}", documents.join(", "))]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// "the loss", "the gradient norm" or "a weight after the update".
        what: &'static str,
        /// The value.
        value: f64,
        /// Ids of the documents in the batch, a dozen at most.
        documents: Vec<String>,
    },
    /// The caller asked to stop; a checkpoint holds what was done.
    #[error("cancelled after step {step}")]
    Cancelled {
        /// Steps done.
        step: u64,
    },
}
