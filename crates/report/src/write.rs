//! The doors of this crate: a page as text, and a page in the store.

use tributary_pipeline::{RUNS, RunHistory};
use tributary_store::Store;

use crate::error::ReportError;
use crate::page::Page;
use crate::{material, template};

/// Name of the page in a store.
pub const REPORT: &str = "report.html";

/// A run's page, as HTML. Artifacts that are damaged or gone are named on the page; they are no error.
///
/// # Errors
/// [`ReportError::Template`], a bug.
pub fn render(history: &RunHistory, store: &Store) -> Result<String, ReportError> {
    template::html(&Page::of(history, &material::gather(history, store)))
}

/// Writes a run's page to [`REPORT`] in the root of its store, the place of the latest run's; gives its address.
///
/// # Errors
/// [`ReportError`].
pub fn write(history: &RunHistory, store: &Store) -> Result<String, ReportError> {
    put(history, store, REPORT)
}

/// Writes a run's page beside its records, `runs/<run id>/report.html`; gives its address.
///
/// # Errors
/// [`ReportError`].
pub fn write_beside_records(history: &RunHistory, store: &Store) -> Result<String, ReportError> {
    put(history, store, &format!("{RUNS}/{}/{REPORT}", history.run.id))
}

fn put(history: &RunHistory, store: &Store, key: &str) -> Result<String, ReportError> {
    let at = store.describe(key);
    let page = render(history, store)?;
    match store.put(key, page) {
        Ok(()) => Ok(at),
        Err(source) => Err(ReportError::Write { at, source }),
    }
}
