//! A base read through an adapter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tributary_tensorfile::{Checkpoint, DType, TensorFileError, TensorInfo, from_f32, to_f32};

use super::adapter::{Adapter, Change, Update};
use super::factors::Factors;
use crate::error::{MergeError, Result};
use crate::source::read_range;

/// Bytes of factors that are kept, in case the next block is of a tensor that was read lately.
const KEPT: usize = 64 << 20;
/// Elements that are converted at once.
const PIECE: usize = 1 << 14;

/// The changes that an adapter makes to a base, and the factors in use.
pub(crate) struct Adapted {
    adapter: Adapter,
    changes: BTreeMap<String, Change>,
    /// The latest last.
    kept: Mutex<Vec<(String, Arc<Factors>)>>,
}

impl Adapted {
    pub(crate) fn new(adapter: &Adapter, base: &Checkpoint, is_tied: bool) -> Result<Adapted> {
        Ok(Adapted {
            adapter: adapter.clone(),
            changes: adapter.changes(base, is_tied)?,
            kept: Mutex::default(),
        })
    }

    /// Does a read of this tensor give something else than the base holds?
    pub(crate) fn changes(&self, tensor: &str) -> bool {
        self.changes.contains_key(tensor)
    }

    /// How many tensors it changes.
    pub(crate) fn count(&self) -> usize {
        self.changes.len()
    }

    /// Fills `buffer` with elements of type `dtype` of a changed tensor from byte `start` of all such elements on.
    /// `model` is what messages call the base, `stored` its tensor.
    pub(crate) fn read(
        &self,
        model: &str,
        base: &Checkpoint,
        stored: &TensorInfo,
        dtype: DType,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        let Some(change) = self.changes.get(&stored.name) else {
            return Err(MergeError::Internal(format!("no change to {}", stored.name)));
        };
        let (name, checkpoint, tensor) = match &change.full {
            Some(full) => (self.adapter.reference(), self.adapter.checkpoint(), full),
            None => (model, base, stored),
        };
        if change.update.is_none() && tensor.dtype == dtype {
            return read_range(name, checkpoint, tensor, start, buffer);
        }
        let factors = match &change.update {
            Some(update) => Some(self.factors(&stored.name, update)?),
            None => None,
        };
        let (asked, held) = (dtype.size(), tensor.dtype.size());
        let start = start as usize / asked;
        let mut bytes = vec![0; buffer.len() / asked * held];
        read_range(name, checkpoint, tensor, (start * held) as u64, &mut bytes)?;
        let mut values = vec![0.0; PIECE.min(buffer.len() / asked)];
        let pieces = bytes.chunks(PIECE * held).zip(buffer.chunks_mut(PIECE * asked));
        for (index, (bytes, out)) in pieces.enumerate() {
            let values = &mut values[..out.len() / asked];
            to_f32(tensor.dtype, bytes, values).map_err(inner)?;
            if let Some(factors) = &factors {
                factors.add(start + index * PIECE, values);
            }
            from_f32(dtype, values, out).map_err(inner)?;
        }
        Ok(())
    }

    /// The factors of a tensor's update, read if they are not kept.
    fn factors(&self, tensor: &str, update: &Update) -> Result<Arc<Factors>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, factors)) = lock().iter().find(|(name, _)| name == tensor) {
            return Ok(Arc::clone(factors));
        }
        // Read without the lock: two threads may read the same ones, which costs less than all of them waiting.
        let name = tributary_store::mask(self.adapter.reference());
        let factors = Arc::new(Factors::read(&name, self.adapter.checkpoint(), update)?);
        let mut kept = lock();
        kept.retain(|(name, _)| name != tensor);
        kept.push((tensor.to_string(), Arc::clone(&factors)));
        let mut bytes: usize = kept.iter().map(|(_, factors)| factors.bytes()).sum();
        while bytes > KEPT && kept.len() > 1 {
            bytes -= kept.remove(0).1.bytes();
        }
        Ok(factors)
    }
}

fn inner(error: TensorFileError) -> MergeError {
    MergeError::Internal(error.to_string())
}
