//! One file a job kind: settings, checks at plan time, and the call into the floors below.
//!
//! Floor 5, beside `pipeline`, whose [`Registry`] it fills. A job file holds its settings type, its `TypedJob`, and
//! nothing that another front end (a verb, a test) could not call through the floors below.

mod blame;
mod import;

pub use blame::Blame;
pub use import::{DEFAULT_SHARD_BYTES, ImportError, ImportProgress, ImportSettings, Imported, import};

use tributary_pipeline::Registry;

/// Every job kind of this program.
pub fn registry() -> Registry {
    Registry::new()
}
