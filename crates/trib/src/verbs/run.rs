//! `trib run FILE`.

use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressDrawTarget;
use serde_json::json;
use tributary_pipeline::{
    CancellationToken, Plan, Planned, RunOptions, RunReport, RunStatus, StepRecord, StepStatus,
    run as run_planned,
};

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::output::{draws_bars, is_quiet, line, stdout_width, text};
use crate::pipeline_arguments::PipelineArguments;
use crate::progress::{JsonProgress, LiveProgress, PlainProgress, Progress, ending};
use crate::report_page;
use crate::screen::{duration, harmless, plural, summary};

/// Of a run that was told to stop.
const STOPPED: i32 = 75;

#[derive(Args)]
#[command(
    after_long_help = "Steps whose artifacts are there already are not made again, so a run that failed, was stopped or \
    killed goes on where it was when it is started again. Ctrl-C stops at the next safe point; once more, at once.\n\n\
    Examples:\n  trib run pipelines/quickstart.yaml\n  \
    trib run pipelines/quickstart.yaml --set seed=3 --set steps.base.with.steps=50\n  \
    trib run pipelines/quickstart.yaml --store s3://bucket/experiments --json"
)]
pub(crate) struct Options {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Write the report to this file [default: runs/ID/report.html in the store]
    #[arg(long, value_name = "FILE", conflicts_with = "no_report")]
    report: Option<PathBuf>,
    /// Write no report
    #[arg(long)]
    no_report: bool,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let planned = options.pipeline.plan(&tributary_jobs::registry())?;
    if let Some(disk) = DiskSpace::of(planned.store()) {
        disk.check(&planned.plan)?;
    }
    let progress = listener(&planned.plan, json);
    let cancellation = CancellationToken::new();
    stop_on_signal(cancellation.clone(), Arc::clone(&progress))?;
    let mut how = RunOptions::new(&*progress);
    how.cancellation = cancellation;
    let began = Instant::now();
    let report = run_planned(&planned, how)?;
    let seconds = began.elapsed().as_secs_f64();
    let page = match options.no_report {
        true => Ok(None),
        false => report_page::write(&planned, report.run.as_deref(), options.report.as_deref()),
    };
    let at = page.as_ref().ok().and_then(Option::as_deref);
    let shown = if json {
        line(json!({
            "event": "outcome", "run": report.run, "status": report.status, "exit_code": report.exit_code(),
            "seconds": seconds, "store": planned.plan.store, "steps": report.steps, "report": at,
        }))
    } else {
        text(&outcome(&planned, &report, seconds, at, stdout_width()))
    };
    // How the run ended is told first, whoever has stopped reading and whatever became of the report.
    verdict(&report)?;
    page?;
    shown
}

/// Who hears the run: a program, a person at a terminal, or a log.
fn listener(plan: &Plan, json: bool) -> Arc<dyn Progress> {
    if json {
        Arc::new(JsonProgress::new(std::io::stdout()))
    } else if draws_bars() {
        Arc::new(LiveProgress::new(
            ProgressDrawTarget::stderr(),
            plan.steps.iter().map(|step| step.id.as_str()),
        ))
    } else {
        Arc::new(PlainProgress::new(std::io::stderr(), is_quiet()))
    }
}

/// The first Ctrl-C (or SIGTERM) asks for a stop at the next safe point, the second ends the process: every artifact
/// is whole or not there, whenever that is.
fn stop_on_signal(cancellation: CancellationToken, progress: Arc<dyn Progress>) -> Result<(), Failure> {
    let heard = ctrlc::set_handler(move || {
        if cancellation.is_cancelled() {
            process::exit(STOPPED);
        }
        cancellation.cancel();
        progress.say("stopping at the next safe point; once more to stop at once");
    });
    heard.map_err(|error| Failure::io(format!("cannot listen for Ctrl-C: {error}")))
}

/// What stdout shows at the end.
pub(crate) fn outcome(
    planned: &Planned,
    report: &RunReport,
    seconds: f64,
    page: Option<&str>,
    width: Option<u16>,
) -> String {
    let plan = &planned.plan;
    let mut shown = match &report.run {
        None => format!(
            "nothing to do: {} has {}, all of them in {} already\n",
            plan.pipeline,
            plural(plan.steps.len(), "step"),
            plan.store
        ),
        Some(run) => format!(
            "{}\nrun {run} {} after {}, artifacts in {}\n",
            summary(&report.steps, width),
            ending(report.status),
            duration(seconds),
            plan.store
        ),
    };
    if let Some(page) = page {
        shown.push_str(&format!("report {page}\n"));
    }
    shown
}

/// The failure of a run that did not get everything done.
pub(crate) fn verdict(report: &RunReport) -> Result<(), Failure> {
    let ended = |status: StepStatus| report.steps.iter().filter(move |step| step.status == status);
    match report.status {
        RunStatus::Done => Ok(()),
        RunStatus::Cancelled => {
            let open =
                report.steps.len() - ended(StepStatus::Done).count() - ended(StepStatus::Cached).count();
            let message = format!(
                "stopped with {} left; run it again to go on",
                plural(open, "step")
            );
            Err(Failure::of_class(report.exit_code(), message))
        }
        RunStatus::Failed => {
            let failures: Vec<String> = ended(StepStatus::Failed).map(failure).collect();
            let advice = "what is done is kept: mend this and run it again";
            let message = format!("{}\n{advice}", failures.join("\n"));
            Err(Failure::of_class(report.exit_code(), message))
        }
    }
}

fn failure(step: &StepRecord) -> String {
    let message = step
        .error
        .as_ref()
        .map_or("unknown", |error| error.message.as_str());
    format!("step {} ({}) failed: {}", step.step, step.job, harmless(message))
}
