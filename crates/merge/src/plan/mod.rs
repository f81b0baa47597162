//! Everything that is decided before the first byte of a tensor moves, from headers and small files alone.

mod build;
mod fit;
mod layers;
mod merge_plan;
mod names;
mod options;
mod output_files;
mod parts;
mod planned;
mod summary;

pub use build::plan;
pub use fit::compare;
pub use merge_plan::MergePlan;
pub(crate) use names::{Listed, listed_models};
pub use options::MergeOptions;
pub(crate) use parts::Part;
pub use summary::PlanSummary;
