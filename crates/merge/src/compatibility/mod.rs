//! Do these models fit together? Answered from headers and small files alone, with everything that differs.
//!
//! Stands between [`crate::source`] (what a model says of itself) and [`crate::plan`]. A difference that would make
//! the merge meaningless is an [`Incompatibility`] and refuses it; one that may be meant becomes a warning.

mod architecture;
mod problem;
mod tensors;
mod vocabulary;

pub(crate) use architecture::{compare_configurations, is_tied, layer_count};
pub use problem::{Incompatibilities, Incompatibility};
pub(crate) use tensors::{Matched, Role, TensorView, match_tensors};
pub(crate) use vocabulary::{compare_tokenizers, tokens};
