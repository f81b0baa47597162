//! A tensor of the result and where it comes from.

use std::sync::Arc;

use tributary_tensorfile::{DType, TensorInfo, TensorSpec};

use crate::method::TensorPlace;
use crate::vocabulary::RowMap;

/// A tensor of the result and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) spec: TensorSpec,
    pub(crate) place: TensorPlace,
    /// Number of the part whose models are merged here.
    pub(crate) part: usize,
    /// Is it no weight, and taken from its only input as it is?
    pub(crate) is_copied: bool,
    /// Is the first input the base?
    pub(crate) has_base: bool,
    /// The tensor in each model that is read, the base first if it is part of the formula.
    pub(crate) inputs: Vec<WorkInput>,
    /// Shard of the result and first byte there.
    pub(crate) shard: usize,
    pub(crate) offset: u64,
}

/// A tensor in one model.
#[derive(Clone, Debug)]
pub(crate) struct WorkInput {
    /// Number of the model.
    pub(crate) input: usize,
    pub(crate) info: TensorInfo,
    /// Where its rows come from, if not all from this tensor in their order.
    pub(crate) map: Option<Arc<RowMap>>,
    /// The type that blocks of it are read as.
    pub(crate) dtype: DType,
}

impl Work {
    /// Bytes of one input, as it is read.
    pub(crate) fn bytes_of(&self, input: &WorkInput) -> u64 {
        (self.spec.elements() * input.dtype.size()) as u64
    }

    /// Bytes of all inputs.
    pub(crate) fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| self.bytes_of(input)).sum()
    }
}
