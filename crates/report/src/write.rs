//! The doors of this crate: a page as text, and a page in the store.

use tributary_pipeline::{RUNS, RunHistory};
use tributary_store::Store;

use crate::error::ReportError;
use crate::page::Page;
use crate::{material, template};

/// A run's page, as HTML. Artifacts that are damaged or gone are named on the page; they are no error.
///
/// # Errors
/// [`ReportError::Template`], a bug.
pub fn render(history: &RunHistory, store: &Store) -> Result<String, ReportError> {
    template::html(&Page::of(history, &material::gather(history, store)))
}

/// Where the page of a run is in its store: beside its records.
pub fn page_key(run: &str) -> String {
    format!("{RUNS}/{run}/report.html")
}

/// Writes a run's page into its store, at [`page_key`]; gives its address.
///
/// # Errors
/// [`ReportError::Write`], or [`ReportError::Template`], a bug.
pub fn write(history: &RunHistory, store: &Store) -> Result<String, ReportError> {
    let key = page_key(&history.run.id);
    let at = store.describe(&key);
    let page = render(history, store)?;
    match store.put(&key, page) {
        Ok(()) => Ok(at),
        Err(source) => Err(ReportError::Write { at, source }),
    }
}
