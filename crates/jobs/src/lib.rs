//! One file a job kind: settings, checks at plan time, and the call into the floors below.

mod import;

pub use import::{DEFAULT_SHARD_BYTES, ImportError, ImportProgress, ImportSettings, Imported, import};
