//! Everything that is decided before the first byte of a tensor moves, from headers and small files alone.

mod build;
mod merge_plan;
mod names;
mod output_files;
mod summary;

pub use build::{MergeOptions, plan};
pub use merge_plan::MergePlan;
pub(crate) use output_files::TOKENIZER_FILES;
pub use summary::PlanSummary;
