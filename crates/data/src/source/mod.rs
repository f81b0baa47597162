//! Files of text to a stream of records.
//!
//! `location` says which files (a file or a directory of a store), `input` gives their bytes by range, and one module a
//! format reads records from them: `text`, `jsonl`, `parquet`. `columns` says which keys carry what, and finds words for files
//! whose keys we do not know. Reading streams: at most one line, one document or one row group is held at a time.

mod columns;
mod input;
mod jsonl;
mod lines;
mod location;
mod parquet;
mod rows;
mod text;

pub use columns::Columns;
pub use input::Input;
pub use location::{Format, Records, Source, read};
pub use text::DEFAULT_SEPARATOR;
