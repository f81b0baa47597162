//! The last screen of `trib run`.

use tributary_pipeline::{StepRecord, StepStatus};

use super::{duration, table};

/// How the steps ended, as a table.
pub(crate) fn summary(steps: &[StepRecord], width: Option<u16>) -> String {
    let row = |step: &StepRecord| {
        let seconds = match step.status {
            StepStatus::Cached => None,
            _ => step.seconds,
        };
        vec![
            step.step.clone(),
            step.job.clone(),
            status(step.status).to_owned(),
            seconds.map_or_else(String::new, duration),
            step.artifact
                .clone()
                .filter(|_| step.digest.is_some())
                .unwrap_or_default(),
        ]
    };
    table(
        &["step", "job", "status", "time", "artifact"],
        steps.iter().map(row).collect(),
        width,
    )
}

fn status(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Queued => "queued",
        StepStatus::Running => "running",
        StepStatus::Done => "done",
        StepStatus::Cached => "cached",
        StepStatus::Failed => "failed",
        StepStatus::Skipped => "skipped",
        StepStatus::Cancelled => "stopped",
    }
}
