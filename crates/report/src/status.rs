//! The statuses of steps and runs, as words, marks and colour classes.

use tributary_pipeline::{RunHistory, RunStatus, StepStatus};

/// Name of a step's status; also its colour class in the style sheet.
pub(crate) fn name(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Queued => "queued",
        StepStatus::Running => "running",
        StepStatus::Done => "done",
        StepStatus::Cached => "cached",
        StepStatus::Failed => "failed",
        StepStatus::Skipped => "skipped",
        StepStatus::Cancelled => "cancelled",
    }
}

/// A mark that tells the status without colour.
pub(crate) fn mark(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Queued => "○",
        StepStatus::Running => "▸",
        StepStatus::Done => "✓",
        StepStatus::Cached => "↺",
        StepStatus::Failed => "✕",
        StepStatus::Skipped => "–",
        StepStatus::Cancelled => "■",
    }
}

/// Every status, in the order of a legend.
pub(crate) const ALL: [StepStatus; 7] = [
    StepStatus::Done,
    StepStatus::Cached,
    StepStatus::Running,
    StepStatus::Queued,
    StepStatus::Failed,
    StepStatus::Cancelled,
    StepStatus::Skipped,
];

/// Colour class and words for a run.
pub(crate) fn of_run(history: &RunHistory) -> (&'static str, &'static str) {
    match history.finished.as_ref().map(|finished| finished.status) {
        Some(RunStatus::Done) => ("done", "done"),
        Some(RunStatus::Failed) => ("failed", "failed"),
        Some(RunStatus::Cancelled) => ("cancelled", "cancelled"),
        // Records alone do not tell a run that goes on from one that was killed.
        None => ("running", "running or interrupted"),
    }
}
