//! Everything that is decided before the first byte of a tensor moves, from headers and small files alone.

mod build;
mod merge_plan;
mod names;
mod output_files;
mod summary;

pub use build::{MergeOptions, compare, plan};
pub use merge_plan::MergePlan;
pub(crate) use names::{Listed, listed_models};
pub(crate) use output_files::TOKENIZER_FILES;
pub use summary::PlanSummary;
