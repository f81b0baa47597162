//! The report of a run: written when it is over, found again when there was nothing to do.

use std::path::Path;

use tributary_pipeline::{PipelineError, Planned, RunHistory};
use tributary_store::Store;

use crate::exit::Failure;

/// Writes the page of a run to `file`, or beside its records; gives its address. With nothing to do (no run), it is
/// that of the pipeline's last run, if there was one.
pub(crate) fn write(
    planned: &Planned,
    run: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<String>, Failure> {
    let store = planned.store();
    let history = match run {
        Some(run) => RunHistory::load(store, run)?,
        None => match RunHistory::latest_of(store, &planned.plan.pipeline) {
            Err(PipelineError::NoRun { .. }) => return Ok(None),
            other => other?,
        },
    };
    if let Some(file) = file {
        return write_file(&history, store, file).map(Some);
    }
    let key = tributary_report::page_key(&history.run.id);
    match (run, store.head(&key)?) {
        (None, Some(_)) => Ok(Some(store.describe(&key))),
        _ => Ok(Some(tributary_report::write(&history, store)?)),
    }
}

/// Writes the page of a run to a file; gives its name.
pub(crate) fn write_file(history: &RunHistory, store: &Store, file: &Path) -> Result<String, Failure> {
    let page = tributary_report::render(history, store)?;
    // The system's message does not name the file.
    let named = |error| Failure::io(format!("writing the report to {}: {error}", file.display()));
    std::fs::write(file, page).map_err(named)?;
    Ok(file.display().to_string())
}
