//! What a run says while it goes on, for whoever renders it (progress bars, JSON lines, a test).
//!
//! Events are said by the runner alone, in an order that a reader can rely on: `RunStarted` first, `RunFinished`
//! last, and for each step `StepStarted` before its progress before its end.

use serde::Serialize;

use crate::record::{RunStatus, StepFailure};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Every step's artifact is there already; nothing was written, nothing else will be said.
    NothingToDo {
        /// Number of steps.
        steps: usize,
    },
    /// A run begins.
    RunStarted {
        /// Run id.
        run: String,
        /// The document's name.
        pipeline: String,
        /// Number of steps.
        steps: usize,
        /// How many of them are known to be cached.
        cached: usize,
    },
    /// A step's artifact is there already.
    StepCached {
        /// The step.
        step: String,
        /// Path of its artifact in the store.
        artifact: String,
    },
    /// An attempt at a step begins.
    StepStarted {
        /// The step.
        step: String,
        /// Job kind.
        job: String,
        /// 0 for the first attempt.
        attempt: u32,
    },
    /// A stretch of work in a step begins.
    StepWork {
        /// The step.
        step: String,
        /// What is being done.
        what: String,
        /// How many units, if known.
        total: Option<u64>,
        /// What is counted.
        unit: String,
    },
    /// More of the current stretch is done. Said at most ten times a second and step.
    StepProgress {
        /// The step.
        step: String,
        /// Units done so far.
        done: u64,
        /// Units in all, if known.
        total: Option<u64>,
        /// What is counted.
        unit: String,
        /// Seconds since the stretch began.
        seconds: f64,
    },
    /// A job says something.
    StepMessage {
        /// The step.
        step: String,
        /// What it says.
        text: String,
    },
    /// A job reports a number.
    StepMetric {
        /// The step.
        step: String,
        /// Name, for instance `loss`.
        name: String,
        /// Value.
        value: f64,
    },
    /// An attempt failed in a way that may pass; another one follows.
    StepRetrying {
        /// The step.
        step: String,
        /// Attempts so far.
        attempts: u32,
        /// Attempts allowed.
        allowed: u32,
        /// Seconds until the next one.
        wait: f64,
        /// What happened.
        error: StepFailure,
    },
    /// A step's artifact is committed.
    StepFinished {
        /// The step.
        step: String,
        /// Path of its artifact in the store.
        artifact: String,
        /// Seconds since the first attempt began.
        seconds: f64,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: String,
        /// What happened.
        error: StepFailure,
    },
    /// A step will not start in this run.
    StepSkipped {
        /// The step.
        step: String,
        /// Why: the step it needs, or the cancellation.
        because: String,
    },
    /// A step stopped at a safe point; a later run continues it.
    StepCancelled {
        /// The step.
        step: String,
    },
    /// The run is over.
    RunFinished {
        /// Run id.
        run: String,
        /// How it ended.
        status: RunStatus,
        /// Wall time.
        seconds: f64,
    },
}

/// Hears events. Called from the thread that called [`crate::run`], one event at a time; a slow observer slows the
/// scheduling of steps, not the steps.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn event(&self, _: &Event) {}
}
