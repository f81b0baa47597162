//! Moves blocks: read → convert → kernel → round → write, on all cores, in a fixed amount of memory.
//!
//! Below [`crate::plan`], which decides what is read and where it goes, and above the kernels. Two kinds of pass use
//! one loop ([`pass`]): one that only gathers statistics, and one that combines and writes (and may gather on the way).
//!
//! Why the result does not depend on threads, block size or shards: an element of the output depends on the elements
//! of the inputs at the same place alone, and statistics are sums over runs of [`RUN`] elements that start at
//! multiples of [`RUN`] in their tensor, added in the order of runs and then of tensor names.

mod block;
mod buffers;
mod gather;
mod output;
mod pass;

pub(crate) use block::Blocks;
pub(crate) use buffers::{Ends, Footprint, Sizing};
pub(crate) use gather::Gather;
pub(crate) use output::Output;
pub(crate) use pass::{Combine, Pass, Work};

/// Elements of a run: the unit of statistics, and what block sizes are multiples of.
pub(crate) const RUN: usize = 1 << 16;
