//! Exit codes: what a caller can do about a failure.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | a bug of ours |
//! | 2 | wrong usage |
//! | 65 | bad data: malformed, damaged or unfitting input |
//! | 69 | unavailable: a device or service is not there |
//! | 74 | input or output failed |
//! | 75 | try again later |
//! | 78 | bad configuration |

use std::io::Write;
use std::process::ExitCode;

use tributary_data::Error as DataError;
use tributary_evaluate::EvaluateError;
use tributary_jobs::ImportError;
use tributary_model::ModelError;
use tributary_pipeline::PipelineError;
use tributary_report::ReportError;
use tributary_store::StoreError;
use tributary_tensorfile::TensorFileError;

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Bad data.
    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self { code: 65, message: message.into() }
    }

    /// Bad configuration.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self { code: 78, message: message.into() }
    }

    /// Prints the failure (to stderr; as JSON if asked) and gives its code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        let mut stderr = std::io::stderr().lock();
        // If stderr is closed there is nobody left to tell.
        let _ = if json {
            writeln!(stderr, "{}", serde_json::json!({"error": self.message, "code": self.code}))
        } else {
            writeln!(stderr, "error: {}", self.message)
        };
        ExitCode::from(self.code)
    }
}

/// An error with the chain of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<TensorFileError> for Failure {
    fn from(error: TensorFileError) -> Self {
        let code = match &error {
            TensorFileError::Write { .. } => 74,
            TensorFileError::Read { source, .. } if source.kind() != std::io::ErrorKind::NotFound => 74,
            _ => 65,
        };
        Self { code, message: chain(&error) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Address { .. } | StoreError::UnsafePath { .. } => 78,
            StoreError::NotFound { .. } | StoreError::Manifest { .. } | StoreError::Damaged { .. } => 65,
            error if error.is_transient() => 75,
            _ => 74,
        };
        Self { code, message: chain(&error) }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Files(error) => error.into(),
            ModelError::Store(error) => error.into(),
            ModelError::Device { .. } => Self { code: 69, message: chain(&error) },
            _ => Self { code: 65, message: chain(&error) },
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Store(error) => error.into(),
            DataError::Option { .. } => Self { code: 78, message: chain(&error) },
            _ => Self { code: 65, message: chain(&error) },
        }
    }
}

impl From<EvaluateError> for Failure {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Model(error) => error.into(),
            EvaluateError::Data(error) => error.into(),
            _ => Self { code: 65, message: chain(&error) },
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Source(error) => error.into(),
            ImportError::Store(error) => error.into(),
            _ => Self { code: 78, message: chain(&error) },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: 74, message: chain(&error) }
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        Self { code: u8::try_from(error.exit_code()).unwrap_or(1), message: chain(&error) }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        let message = chain(&error);
        let code = match error {
            ReportError::Write { source, .. } => Self::from(source).code,
            _ => 1,
        };
        Self { code, message }
    }
}
