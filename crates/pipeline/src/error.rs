//! The one error type of this crate, shaped by what the caller can do.

use std::io;
use std::path::PathBuf;

use tributary_store::StoreError;

use crate::diagnostic::Diagnostics;
use crate::job_error::{JobError, JobErrorKind};

/// Why a pipeline could not be planned, run or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The document is wrong; everything found is inside, with places.
    #[error("{0}")]
    Document(Box<Diagnostics>),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be used.
    #[error("{doing}: {source}")]
    Store {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// A record in the store is broken.
    #[error("{at} is no run record: {reason}")]
    Record {
        /// The object.
        at: String,
        /// Why not.
        reason: String,
    },
    /// There is no such run.
    #[error("there is no run {run} in {store}")]
    NoRun {
        /// The run id, or `latest`.
        run: String,
        /// The store's address.
        store: String,
    },
    /// A job broke its contract.
    #[error("bug in job `{job}` of step `{step}`: {message}")]
    Bug {
        /// The step.
        step: String,
        /// The job's kind.
        job: String,
        /// What happened.
        message: String,
    },
}

impl PipelineError {
    /// The exit-code class (see the exit-code table of `trib`).
    pub fn exit_code(&self) -> i32 {
        match self {
            PipelineError::Document(_) => 78,
            PipelineError::Unreadable { .. } => 74,
            PipelineError::Store { source, .. } => JobErrorKind::of_store(source).exit_code(),
            PipelineError::Record { .. } | PipelineError::NoRun { .. } => 65,
            PipelineError::Bug { .. } => 1,
        }
    }

    pub(crate) fn store(doing: impl Into<String>) -> impl FnOnce(StoreError) -> Self {
        let doing = doing.into();
        move |source| PipelineError::Store { doing, source }
    }

    pub(crate) fn bug(step: &str, job: &str, error: &JobError) -> Self {
        PipelineError::Bug {
            step: step.to_owned(),
            job: job.to_owned(),
            message: error.describe(),
        }
    }
}
