//! The one error type of this crate.

use tributary_store::StoreError;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The page cannot be put where it was to go.
    #[error("writing the report to {at}: {source}")]
    Write {
        /// Where to.
        at: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// The template and the values for it do not fit: a bug of this crate.
    #[error("bug in the report's template: {0}")]
    Template(#[from] minijinja::Error),
}
