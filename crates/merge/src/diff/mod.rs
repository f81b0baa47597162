//! Two models beside each other: how far apart they are, tensor by tensor, and what else differs.
//!
//! Above [`crate::source`]: both sides may be anything that can be merged, a base with an adapter included. Tensors are
//! read block by block on all cores; sums are added in the order of blocks, so the figures do not depend on threads.

mod compare;
mod groups;
mod report;
mod small_files;
mod sums;

pub use compare::{DiffOptions, diff};
pub(crate) use groups::place;
pub use report::{
    FieldDiff, FileDiff, FileState, GroupDiff, LargestDifference, Measure as Distance, ModelDiff, Side,
    TensorDiff, TensorEntry, TokenizerDiff,
};
pub(crate) use sums::Sums;
