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

use serde_json::json;
use tributary_data::Error as DataError;
use tributary_evaluate::EvaluateError;
use tributary_jobs::{Classed, ImportError};
use tributary_merge::MergeError;
use tributary_model::ModelError;
use tributary_pipeline::{Diagnostics, PipelineError};
use tributary_report::ReportError;
use tributary_store::StoreError;
use tributary_tensorfile::TensorFileError;

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// What is wrong with a pipeline, with places.
    diagnostics: Option<Box<Diagnostics>>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            diagnostics: None,
        }
    }

    /// A broken promise of the program itself.
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// Wrong usage that the argument parser cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// Bad data.
    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(65, message)
    }

    /// A device or service that is not there.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(69, message)
    }

    /// Input or output that failed, or would.
    pub(crate) fn io(message: impl Into<String>) -> Self {
        Self::new(74, message)
    }

    /// Bad configuration.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(78, message)
    }

    /// Of a class that a run or a report has decided.
    pub(crate) fn of_class(code: i32, message: impl Into<String>) -> Self {
        Self::new(u8::try_from(code).unwrap_or(1), message)
    }

    /// May it be gone another time? A store that did not answer, a disk that was full.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, 69 | 74 | 75)
    }

    /// Adds what to do about it.
    pub(crate) fn add(&mut self, advice: &str) {
        self.message.push_str(advice);
    }

    /// Whoever read our output wants no more of it (`trib jobs | head -1`): no failure, and nothing to say.
    fn closed_output() -> Self {
        Self::new(0, "")
    }

    /// Two things differ and the caller asked for an exit code that says so, as `git diff --exit-code` has it: nothing
    /// failed, and there is nothing to say.
    pub(crate) fn difference() -> Self {
        Self::new(1, "")
    }

    /// The same failure in other words.
    pub(crate) fn says(self, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..self
        }
    }

    /// Prints the failure (to stderr; as JSON if asked) and gives its code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if !self.message.is_empty() {
            // If stderr is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr().lock(), "{}", self.text(json));
        }
        ExitCode::from(self.code)
    }

    fn text(&self, json: bool) -> String {
        if json {
            let mut object = json!({"error": self.message, "code": self.code});
            if let Some(diagnostics) = &self.diagnostics {
                object["diagnostics"] = diagnostics.to_json();
            }
            return object.to_string();
        }
        let drawn = self.diagnostics.as_ref().map(|diagnostics| {
            let drawn = diagnostics.render(crate::output::stderr_width(), console::colors_enabled_stderr());
            format!("{drawn}\n")
        });
        format!("{}error: {}", drawn.unwrap_or_default(), self.message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error with the chain of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
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

/// The exit code is that of the error's class, as a pipeline's step would have it.
macro_rules! classed {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of_class(error.class().exit_code(), chain(&error))
            }
        }
    )*};
}

classed!(
    TensorFileError,
    StoreError,
    ModelError,
    DataError,
    EvaluateError,
    ImportError,
    MergeError
);

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let mut failure = Self::of_class(error.exit_code(), chain(&error));
        if let PipelineError::Document(diagnostics) = error {
            failure.diagnostics = Some(diagnostics);
        }
        failure
    }
}

/// Only our own output is written without a library between that would name the place.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::closed_output();
        }
        Self::new(74, format!("cannot write the output: {}", chain(&error)))
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        let message = chain(&error);
        let code = match error {
            ReportError::Write { source, .. } => Self::from(source).code,
            _ => 1,
        };
        Self::new(code, message)
    }
}
