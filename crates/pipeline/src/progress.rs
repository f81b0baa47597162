//! What a running job says while it works, and how it is asked to stop.
//!
//! Stands between a job (or the library below it) and the runner, which turns the calls into
//! [`crate::Event`]s and [`crate::Throughput`] records. Invariants: calls are cheap and never fail; none of them
//! changes a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::job_error::JobError;

/// Listens to a running job. All methods may be called from any thread.
pub trait ProgressSink: Send + Sync {
    /// A stretch of work begins: `total` units if known. A later `begin` ends the stretch before.
    fn begin(&self, what: &str, total: Option<u64>, unit: &str);
    /// So many more units of the current stretch are done.
    fn advance(&self, units: u64);
    /// A sentence for the reader.
    fn message(&self, text: &str);
    /// A number that changes while the job runs, for instance `loss`.
    fn metric(&self, name: &str, value: f64);
}

/// Hears nothing; for tests and for calls that need no progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn begin(&self, _: &str, _: Option<u64>, _: &str) {}
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn metric(&self, _: &str, _: f64) {}
}

/// A request to stop at the next safe point, shared by everything in a run.
#[derive(Debug, Clone, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// Not yet cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone who holds a clone to stop. Safe in a signal handler.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Was a stop asked for?
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for libraries that look at one.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// For the safe points of a job: `context.cancellation.check()?`.
    ///
    /// # Errors
    /// [`JobErrorKind::Cancelled`](crate::JobErrorKind::Cancelled) once a stop was asked for.
    pub fn check(&self) -> Result<(), JobError> {
        if self.is_cancelled() {
            Err(JobError::cancelled())
        } else {
            Ok(())
        }
    }
}
