//! The report of a run: where it is.

use tributary_pipeline::{Planned, RUNS, RunHistory};
use tributary_store::Store;

use crate::exit::Failure;

/// Runs that are looked at for the last one of a pipeline, newest first.
const LOOKED_AT: usize = 20;

/// The page of a run (or, of a pipeline with nothing to do, of its last run), if there is one.
pub(crate) fn find(planned: &Planned, run: Option<&str>) -> Result<Option<String>, Failure> {
    let store = planned.store();
    let run = match run {
        Some(run) => Some(run.to_owned()),
        None => last_run(store, &planned.plan.pipeline)?,
    };
    let Some(run) = run else { return Ok(None) };
    let key = page_key(&run);
    Ok(store.head(&key)?.map(|_| store.describe(&key)))
}

/// Where the page of a run is in its store.
fn page_key(run: &str) -> String {
    format!("{RUNS}/{run}/report.html")
}

/// The last run of a pipeline.
fn last_run(store: &Store, pipeline: &str) -> Result<Option<String>, Failure> {
    for run in RunHistory::list(store)?.into_iter().rev().take(LOOKED_AT) {
        let record: serde_json::Value = match store.get(&format!("{RUNS}/{run}/run.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        if record["pipeline"] == pipeline {
            return Ok(Some(run));
        }
    }
    Ok(None)
}
