//! Gram matrices by tensor, put together from runs that are computed in any order.

use std::sync::{Mutex, PoisonError};

use super::RUN;
use crate::method::TensorPlace;
use crate::statistics::{Gram, GramTable};

/// Collects the runs of every tensor; a tensor's runs are added in their order as soon as the last one is there.
pub(crate) struct Gather {
    models: usize,
    tensors: Vec<Mutex<Pending>>,
}

struct Pending {
    runs: Vec<Option<Gram>>,
    left: usize,
    sum: Gram,
}

impl Gather {
    /// For tensors of these numbers of elements.
    pub(crate) fn new(models: usize, elements: &[usize]) -> Gather {
        let pending = |elements: &usize| {
            let sum = Gram::zero(models);
            Mutex::new(Pending {
                runs: Vec::new(),
                left: elements.div_ceil(RUN),
                sum,
            })
        };
        Gather {
            models,
            tensors: elements.iter().map(pending).collect(),
        }
    }

    pub(crate) fn models(&self) -> usize {
        self.models
    }

    /// Takes the matrix of run number `run` of a tensor; each run once.
    pub(crate) fn add(&self, tensor: usize, run: usize, gram: Gram) {
        let Some(pending) = self.tensors.get(tensor) else {
            return;
        };
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.runs.is_empty() {
            // Only while the tensor is in work, so that the memory does not grow with the model.
            pending.runs = vec![None; pending.left];
        }
        if let Some(slot) = pending.runs.get_mut(run) {
            *slot = Some(gram);
            pending.left -= 1;
        }
        if pending.left == 0 {
            let runs = std::mem::take(&mut pending.runs);
            for gram in runs.iter().flatten() {
                pending.sum.add(gram);
            }
        }
    }

    /// The matrices of the tensors that `place` names; the others were not gathered.
    pub(crate) fn finish(self, place: impl Fn(usize) -> Option<TensorPlace>) -> GramTable {
        let models = self.models;
        let named = self
            .tensors
            .into_iter()
            .enumerate()
            .filter_map(|(index, pending)| {
                let pending = pending.into_inner().unwrap_or_else(PoisonError::into_inner);
                Some((place(index)?, pending.sum))
            });
        GramTable::new(models, named)
    }
}
