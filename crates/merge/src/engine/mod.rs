//! Moves blocks: read → convert → kernel → round → write, on all cores, in a fixed amount of memory.
//!
//! Below [`crate::plan`], which decides what is read and where it goes, and above the kernels. Every tensor goes the way
//! its rule says ([`crate::method::Rule`]): measured as often as the rule asks, then combined and written. A merge that
//! must know something of all tensors before the first is made runs a pass of rules that only measure before it.
//!
//! Why the result does not depend on threads, block size or shards: an element of the output depends on the elements
//! of the inputs at the same place alone, and statistics are sums over runs of [`RUN`] elements that start at
//! multiples of [`RUN`] in their tensor, added in the order of runs and then of tensor names.

mod block;
mod buffers;
mod held;
mod made;
mod output;
mod pass;
mod queue;
mod tally;
mod view;
mod work;

pub(crate) use block::Cut;
pub(crate) use buffers::{Ends, Footprint, Sizing};
pub(crate) use made::{Made, from_note, to_note};
pub(crate) use output::Output;
pub(crate) use pass::{Pass, coefficient};
pub(crate) use work::{Work, WorkInput};

/// Elements of a run, the unit in which sums are added, and what block sizes are multiples of; longer only where rows are.
pub(crate) const RUN: usize = 1 << 16;
