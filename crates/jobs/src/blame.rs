//! Errors of the floors below as the runner wants them: what can be done, and what the job was doing.

use tributary_data::Error as DataError;
use tributary_evaluate::EvaluateError;
use tributary_merge::MergeError;
use tributary_model::ModelError;
use tributary_pipeline::{JobError, JobErrorKind};
use tributary_store::StoreError;
use tributary_tensorfile::TensorFileError;
use tributary_train::TrainError;

/// Turns a library's error into a [`JobError`].
pub trait Blame<T> {
    /// `doing` says what failed: `loading the model of `base``.
    ///
    /// # Errors
    /// The error, classed by what can be done about it.
    fn blame(self, doing: impl Into<String>) -> Result<T, JobError>;
}

/// The class of a library's error.
trait Classed: std::error::Error + Send + Sync + 'static {
    fn class(&self) -> JobErrorKind;
}

impl<T, E: Classed> Blame<T> for Result<T, E> {
    fn blame(self, doing: impl Into<String>) -> Result<T, JobError> {
        self.map_err(|error| JobError::caused(error.class(), doing, error))
    }
}

impl Classed for StoreError {
    fn class(&self) -> JobErrorKind {
        match self {
            StoreError::Address { .. } => JobErrorKind::Config,
            StoreError::Damaged { .. } | StoreError::Manifest { .. } => JobErrorKind::BadInput,
            StoreError::NotFound { .. } | StoreError::UnsafePath { .. } => JobErrorKind::BadInput,
            StoreError::Changed { .. } => JobErrorKind::Retry,
            error if error.is_transient() => JobErrorKind::Unavailable,
            StoreError::Conflict { .. } | StoreError::Misuse { .. } => JobErrorKind::Bug,
            _ => JobErrorKind::Io,
        }
    }
}

/// An input or output error, which may carry a store's error.
fn io_class(error: &std::io::Error) -> JobErrorKind {
    let carried = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StoreError>());
    match carried {
        Some(error) => error.class(),
        None if error.kind() == std::io::ErrorKind::NotFound => JobErrorKind::BadInput,
        None => JobErrorKind::Io,
    }
}

impl Classed for TensorFileError {
    fn class(&self) -> JobErrorKind {
        match self {
            TensorFileError::Read { source, .. } | TensorFileError::Write { source, .. } => io_class(source),
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for ModelError {
    fn class(&self) -> JobErrorKind {
        match self {
            ModelError::Files(error) => error.class(),
            ModelError::Store(error) => error.class(),
            ModelError::Device { .. } => JobErrorKind::Unavailable,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for DataError {
    fn class(&self) -> JobErrorKind {
        match self {
            DataError::Store(error) => error.class(),
            DataError::Option { .. } => JobErrorKind::Config,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for EvaluateError {
    fn class(&self) -> JobErrorKind {
        match self {
            EvaluateError::Model(error) => error.class(),
            EvaluateError::Data(error) => error.class(),
            EvaluateError::Cancelled => JobErrorKind::Cancelled,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for MergeError {
    fn class(&self) -> JobErrorKind {
        match self {
            MergeError::Config(_) | MergeError::Parameter { .. } | MergeError::Memory { .. } => {
                JobErrorKind::Config
            }
            MergeError::Occupied { .. } => JobErrorKind::Config,
            MergeError::Unavailable { .. } => JobErrorKind::Unavailable,
            MergeError::Read { source, .. } | MergeError::Write { source, .. } => io_class(source),
            MergeError::Store(error) => error.class(),
            MergeError::Cancelled => JobErrorKind::Cancelled,
            MergeError::Internal(_) => JobErrorKind::Bug,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for TrainError {
    fn class(&self) -> JobErrorKind {
        match self {
            TrainError::Model(error) => error.class(),
            TrainError::Data(error) => error.class(),
            TrainError::Store(error) => error.class(),
            TrainError::Option { .. } => JobErrorKind::Config,
            TrainError::Cancelled { .. } => JobErrorKind::Cancelled,
            _ => JobErrorKind::BadInput,
        }
    }
}
