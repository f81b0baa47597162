//! Why a job failed, shaped by what the runner and the caller can do about it.
//!
//! Neighbours: jobs return it, [`crate::runner`] retries the transient kinds, `trib` exits with
//! [`JobErrorKind::exit_code`].

use std::error::Error;
use std::fmt;

use tributary_store::StoreError;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// An input is damaged or unfit: give other data. Exit code 65.
    BadInput,
    /// A service, device or object cannot be reached now. Exit code 69; retried.
    Unavailable,
    /// Reading or writing failed (disk full, permissions). Exit code 74.
    Io,
    /// The job asks to be started again and will continue. Exit code 75; retried.
    Retry,
    /// The settings do not fit the inputs. Exit code 78.
    Config,
    /// It stopped because it was asked to. Exit code 75.
    Cancelled,
    /// A broken promise of the program itself. Exit code 1.
    Bug,
}

impl JobErrorKind {
    /// The exit-code class (sysexits).
    pub fn exit_code(self) -> i32 {
        match self {
            JobErrorKind::BadInput => 65,
            JobErrorKind::Unavailable => 69,
            JobErrorKind::Io => 74,
            JobErrorKind::Retry | JobErrorKind::Cancelled => 75,
            JobErrorKind::Config => 78,
            JobErrorKind::Bug => 1,
        }
    }

    /// Name in records: `bad_input`, `unavailable`, …
    pub fn name(self) -> &'static str {
        match self {
            JobErrorKind::BadInput => "bad_input",
            JobErrorKind::Unavailable => "unavailable",
            JobErrorKind::Io => "io",
            JobErrorKind::Retry => "retry",
            JobErrorKind::Config => "config",
            JobErrorKind::Cancelled => "cancelled",
            JobErrorKind::Bug => "bug",
        }
    }

    /// What can be done about a store's error.
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Address { .. } => JobErrorKind::Config,
            StoreError::Damaged { .. } | StoreError::Broken { .. } => JobErrorKind::BadInput,
            StoreError::Manifest { .. } | StoreError::NotFound { .. } => JobErrorKind::BadInput,
            StoreError::UnsafePath { .. } => JobErrorKind::BadInput,
            // Somebody else wrote meanwhile: another look shows what there is now.
            StoreError::Changed { .. } | StoreError::Conflict { .. } | StoreError::Lost { .. } => {
                JobErrorKind::Retry
            }
            StoreError::Backend { transient: true, .. } => JobErrorKind::Unavailable,
            StoreError::Misuse { .. } => JobErrorKind::Bug,
            _ => JobErrorKind::Io,
        }
    }

    /// What can be done about an error of input or output, which may carry a store's.
    pub fn of_io(error: &std::io::Error) -> Self {
        let carried = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<StoreError>());
        match carried {
            Some(error) => Self::of_store(error),
            None if error.kind() == std::io::ErrorKind::NotFound => JobErrorKind::BadInput,
            None => JobErrorKind::Io,
        }
    }

    /// May the same attempt succeed later without any change on our side?
    pub fn is_transient(self) -> bool {
        matches!(self, JobErrorKind::Unavailable | JobErrorKind::Retry)
    }
}

/// A job's failure: what can be done, and what happened.
#[derive(Debug)]
pub struct JobError {
    kind: JobErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl JobError {
    /// A failure described by a sentence.
    pub fn new(kind: JobErrorKind, message: impl Into<String>) -> Self {
        JobError {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// A failure of something below, with what the job was doing: `merging failed: …`.
    pub fn caused(
        kind: JobErrorKind,
        doing: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        JobError {
            kind,
            message: doing.into(),
            source: Some(source.into()),
        }
    }

    /// [`JobErrorKind::BadInput`].
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(JobErrorKind::BadInput, message)
    }

    /// [`JobErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(JobErrorKind::Config, message)
    }

    /// [`JobErrorKind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(JobErrorKind::Bug, message)
    }

    /// [`JobErrorKind::Cancelled`].
    pub fn cancelled() -> Self {
        Self::new(
            JobErrorKind::Cancelled,
            "stopped at a safe point because the run was cancelled",
        )
    }

    /// What can be done about it.
    pub fn kind(&self) -> JobErrorKind {
        self.kind
    }

    /// The message and all causes, joined by `: `. A cause already said by its parent is not repeated.
    pub fn describe(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source.as_ref().map(|source| source.as_ref() as &dyn Error);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for JobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        JobError {
            kind: JobErrorKind::of_store(&error),
            message: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}

impl From<std::io::Error> for JobError {
    /// A store's error that travelled through `std::io` keeps its class.
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => JobError {
                kind: JobErrorKind::Io,
                message: error.to_string(),
                source: Some(Box::new(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_chain_is_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let error = JobError::caused(JobErrorKind::Io, "writing shard 2", inner);
        assert_eq!(error.describe(), "writing shard 2: disk on fire");
        assert_eq!(JobError::from(std::io::Error::other("full")).describe(), "full");
    }

    #[test]
    fn a_store_error_keeps_its_class_through_io() {
        let lost = || StoreError::NotFound {
            at: "memory:///x".into(),
        };
        assert_eq!(JobError::from(lost()).kind(), JobErrorKind::BadInput);
        assert_eq!(
            JobError::from(std::io::Error::from(lost())).kind(),
            JobErrorKind::BadInput
        );
        let busy = StoreError::Backend {
            action: "get",
            at: "s3://b/k".into(),
            message: "503".into(),
            transient: true,
        };
        assert!(JobError::from(busy).kind().is_transient());
    }
}
