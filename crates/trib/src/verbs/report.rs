//! `trib report STORE`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tributary_pipeline::{DocumentHead, FinishedRecord, PipelineError, RunHistory, RunRecord, Source};
use tributary_store::Store;

use crate::exit::Failure;
use crate::output::line;
use crate::report_page::write_file;

#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  trib report ckpt/quickstart\n  trib report pipelines/quickstart.yaml --out report.html\n  trib report ckpt/quickstart --list"
)]
pub(crate) struct Options {
    /// A pipeline's store (a path, file:// or s3://), or its YAML document (then the store it names)
    store: String,
    /// Which run, by its id [default: the latest; of a document, its latest]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Write the page to this file [default: runs/ID/report.html in the store]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// List the runs instead, the latest first
    #[arg(long, conflicts_with_all = ["run", "out"])]
    list: bool,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let head = document(&options.store)?;
    let store = Store::open(head.as_ref().map_or(&options.store, |head| &head.store))?;
    let pipeline = head.map(|head| head.pipeline);
    if options.list {
        return list(&store, pipeline.as_deref(), json);
    }
    let found = match (&options.run, &pipeline) {
        (Some(run), _) => RunHistory::load(&store, run),
        (None, Some(pipeline)) => RunHistory::latest_of(&store, pipeline),
        (None, None) => RunHistory::latest(&store),
    };
    let history = found.map_err(|error| no_run(error, options))?;
    let at = match &options.out {
        None => tributary_report::write(&history, &store)?,
        Some(file) => write_file(&history, &store, file)?,
    };
    if json {
        let mut outcome = outline(&history.run, history.finished.as_ref());
        outcome["report"] = at.into();
        return line(outcome);
    }
    line(at)
}

/// What the document says, if it is one: a file named as YAML.
fn document(place: &str) -> Result<Option<DocumentHead>, Failure> {
    let path = Path::new(place);
    let is_named = path
        .extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml");
    if !is_named || path.is_dir() {
        return Ok(None);
    }
    Ok(Some(DocumentHead::read(Source::read(path, &[])?)?))
}

/// A run that is not there, with what to do about it.
fn no_run(error: PipelineError, options: &Options) -> Failure {
    match (&error, &options.run) {
        (PipelineError::NoRun { .. }, Some(_)) => Failure::data(format!(
            "{error}; `trib report {} --list` shows those there are",
            options.store
        )),
        (PipelineError::NoRun { store, .. }, None) => Failure::data(format!(
            "no pipeline has run in {store} yet ({error}); run one, or give the store of one that has"
        )),
        _ => error.into(),
    }
}

fn status(finished: Option<&FinishedRecord>) -> Value {
    finished.map_or("unfinished".into(), |finished| json!(finished.status))
}

fn outline(run: &RunRecord, finished: Option<&FinishedRecord>) -> Value {
    json!({
        "run": run.id, "pipeline": run.pipeline, "status": status(finished), "started": run.started,
        "seconds": finished.map(|finished| finished.seconds), "steps": run.steps.len(),
    })
}

fn list(store: &Store, pipeline: Option<&str>, json: bool) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for id in RunHistory::list(store)?.into_iter().rev() {
        runs.extend(RunHistory::outline(store, &id)?);
    }
    runs.retain(|(run, _)| pipeline.is_none_or(|name| run.pipeline == name));
    if json {
        let runs: Vec<Value> = runs
            .iter()
            .map(|(run, finished)| outline(run, finished.as_ref()))
            .collect();
        return line(json!({"store": store.url(), "runs": runs}));
    }
    for (run, finished) in &runs {
        let status = status(finished.as_ref());
        let status = status.as_str().unwrap_or_default();
        let seconds = finished
            .as_ref()
            .map_or(String::new(), |finished| format!("{:.1} s", finished.seconds));
        line(format!(
            "{}  {status:<10}  {seconds:>10}  {:>3} steps  {}",
            run.id,
            run.steps.len(),
            run.pipeline
        ))?;
    }
    Ok(())
}
