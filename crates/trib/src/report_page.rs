//! The report of a run: written when it is over, found again when there was nothing to do.

use tributary_pipeline::{PipelineError, Planned, RunHistory};

use crate::exit::Failure;

/// Writes the page of a run beside its records; gives its address. With nothing to do (no run), the page of the
/// pipeline's last run, if there was one.
pub(crate) fn write(planned: &Planned, run: Option<&str>) -> Result<Option<String>, Failure> {
    let store = planned.store();
    if let Some(run) = run {
        let history = RunHistory::load(store, run)?;
        return Ok(Some(tributary_report::write(&history, store)?));
    }
    let history = match RunHistory::latest_of(store, &planned.plan.pipeline) {
        Err(PipelineError::NoRun { .. }) => return Ok(None),
        other => other?,
    };
    let key = tributary_report::page_key(&history.run.id);
    match store.head(&key)? {
        Some(_) => Ok(Some(store.describe(&key))),
        None => Ok(Some(tributary_report::write(&history, store)?)),
    }
}
