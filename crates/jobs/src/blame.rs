//! Errors of the floors below as the runner wants them: what can be done, and what the job was doing.

use tributary_data::Error as DataError;
use tributary_evaluate::EvaluateError;
use tributary_merge::MergeError;
use tributary_model::ModelError;
use tributary_pipeline::{JobError, JobErrorKind};
use tributary_prune::PruneError;
use tributary_search::SearchError;
use tributary_store::StoreError;
use tributary_tensorfile::TensorFileError;
use tributary_train::TrainError;

use crate::import::ImportError;

/// Turns a library's error into a [`JobError`].
pub trait Blame<T> {
    /// `doing` says what failed: `loading the model of `base``.
    ///
    /// # Errors
    /// The error, classed by what can be done about it.
    fn blame(self, doing: impl Into<String>) -> Result<T, JobError>;
}

/// The class of a library's error: what can be done about it, and the exit code that says so.
pub trait Classed: std::error::Error + Send + Sync + 'static {
    /// The class.
    fn class(&self) -> JobErrorKind;
}

impl<T, E: Classed> Blame<T> for Result<T, E> {
    fn blame(self, doing: impl Into<String>) -> Result<T, JobError> {
        self.map_err(|error| JobError::caused(error.class(), doing, error))
    }
}

impl Classed for StoreError {
    fn class(&self) -> JobErrorKind {
        JobErrorKind::of_store(self)
    }
}

impl Classed for TensorFileError {
    fn class(&self) -> JobErrorKind {
        match self {
            TensorFileError::Read { source, .. } | TensorFileError::Write { source, .. } => {
                JobErrorKind::of_io(source)
            }
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
            DataError::Read { source, .. } => JobErrorKind::of_io(source),
            DataError::Record { source, .. } => source.class(),
            DataError::Option { .. } => JobErrorKind::Config,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for ImportError {
    fn class(&self) -> JobErrorKind {
        match self {
            ImportError::Source(error) => error.class(),
            ImportError::Store(error) => error.class(),
            ImportError::Model(error) => error.class(),
            ImportError::Tokenizer(error) => error.class(),
            ImportError::Occupied { .. } | ImportError::Settings(_) => JobErrorKind::Config,
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
            MergeError::Read { source, .. } | MergeError::Write { source, .. } => JobErrorKind::of_io(source),
            MergeError::Store(error) => error.class(),
            MergeError::Cancelled => JobErrorKind::Cancelled,
            MergeError::Internal(_) => JobErrorKind::Bug,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for SearchError {
    fn class(&self) -> JobErrorKind {
        match self {
            SearchError::Model(error) => error.class(),
            SearchError::Input(_) => JobErrorKind::Config,
            SearchError::Stopped => JobErrorKind::Cancelled,
            _ => JobErrorKind::BadInput,
        }
    }
}

impl Classed for PruneError {
    fn class(&self) -> JobErrorKind {
        match self {
            PruneError::Evaluate(error) => error.class(),
            PruneError::Model(error) => error.class(),
            _ => JobErrorKind::Config,
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
