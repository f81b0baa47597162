//! Events as sentences.

use tributary_pipeline::{Event, RunStatus, StepFailure};

use crate::screen::{duration, harmless, plural};

/// What an event sounds like; none for those that a bar shows, or the summary after the run.
pub(crate) fn sentence(event: &Event) -> Option<String> {
    let text = match event {
        Event::RunStarted {
            run,
            pipeline,
            steps,
            cached,
        } => {
            let there = if *cached == 0 {
                String::new()
            } else {
                format!(", {cached} of them there already")
            };
            format!("run {run} of {pipeline}: {}{there}", plural(*steps, "step"))
        }
        Event::StepCached { step, artifact } => format!("{step}: there already, {artifact}"),
        Event::StepStarted {
            step,
            job,
            attempt: 0,
        } => format!("{step}: started ({job})"),
        Event::StepStarted { step, job, attempt } => {
            format!("{step}: started again ({job}, attempt {})", attempt + 1)
        }
        Event::StepMessage { step, text } => format!("{step}: {text}"),
        Event::StepRetrying {
            step,
            attempts,
            allowed,
            wait,
            error,
        } => format!(
            "{step}: attempt {attempts} of {allowed} failed: {}; trying again in {}",
            error.message,
            duration(*wait)
        ),
        Event::StepFinished {
            step,
            artifact,
            seconds,
        } => format!("{step}: done in {}, {artifact}", duration(*seconds)),
        Event::StepFailed { step, error } => format!("{step}: failed ({}): {}", kind(error), error.message),
        Event::StepSkipped { step, because } => format!("{step}: skipped, {because}"),
        Event::StepCancelled { step } => format!("{step}: stopped at a safe point"),
        Event::RunFinished { run, status, seconds } => {
            format!("run {run}: {} after {}", ending(*status), duration(*seconds))
        }
        _ => return None,
    };
    Some(harmless(&text))
}

/// `bad input` for `bad_input`.
fn kind(error: &StepFailure) -> String {
    error.kind.replace('_', " ")
}

/// How a run ended.
pub(crate) fn ending(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Done => "done",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "stopped",
    }
}
