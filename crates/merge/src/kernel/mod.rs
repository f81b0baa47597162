//! The arithmetic of merging over slices of `f32`: no input or output, no allocation in the loops.
//!
//! Called by [`crate::engine`] on chunks that fit the first-level cache. Every kernel gives the same bits on every
//! machine: sums run over a fixed number of partial sums in a fixed order, and nothing depends on fused
//! multiply-add being there (products of two `f32` are exact in `f64`).

mod gram;
mod vectorised;
mod weighted_sum;

pub(crate) use gram::GramSum;
pub(crate) use vectorised::{fuses, vectorised};
pub(crate) use weighted_sum::{Term, count_beyond, round_to_f32, weighted_sum};

/// Elements a kernel is given at once: 4 KiB of `f32` an input.
pub(crate) const CHUNK: usize = 1024;
