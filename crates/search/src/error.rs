//! What can go wrong.

use tributary_model::ModelError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, SearchError>;

/// An error of a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Models that cannot be combined.
    #[error("{first} and {second} cannot be combined: {reason}")]
    Unlike {
        /// One model.
        first: String,
        /// Another.
        second: String,
        /// What differs.
        reason: String,
    },
    /// A score that is no finite number.
    #[error("the score at point {number} is {value}, not a finite number")]
    NotFinite {
        /// Number of the point, from 0.
        number: usize,
        /// The score.
        value: f64,
    },
    /// Points or scores that do not fit each other.
    #[error("{0}")]
    Input(String),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// From the models.
    #[error(transparent)]
    Model(#[from] ModelError),
}
