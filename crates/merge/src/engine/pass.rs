//! One pass over the blocks of all tensors.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tributary_tensorfile::{TensorInfo, TensorSpec, from_f32, to_f32};

use super::block::Block;
use super::buffers::{Buffers, Footprint, Ledger, Sizing};
use super::{Blocks, Gather, Output, RUN};
use crate::error::{MergeError, Result};
use crate::kernel::{CHUNK, GramSum, Term, round_to_f32, weighted_sum};
use crate::method::{Recipe, TensorPlace};
use crate::source::Source;

/// A tensor of the result and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) spec: TensorSpec,
    pub(crate) place: TensorPlace,
    /// Number of the input that the tensor is copied from; `None` if it is merged.
    pub(crate) copied_from: Option<usize>,
    /// The tensor in each input; for a copied tensor only in that one.
    pub(crate) inputs: Vec<Option<TensorInfo>>,
    /// Shard of the result and first byte there.
    pub(crate) shard: usize,
    pub(crate) offset: u64,
}

/// What the combining pass needs beside the tensors.
pub(crate) struct Combine<'a> {
    /// How each tensor is made; `None` for copied ones.
    pub(crate) recipes: &'a [Option<Recipe>],
    pub(crate) output: &'a Output,
}

/// One pass: gathers statistics, or combines and writes, or both.
pub(crate) struct Pass<'a> {
    /// The inputs and what messages call them.
    pub(crate) inputs: &'a [(String, Source)],
    pub(crate) tensors: &'a [Work],
    pub(crate) footprint: &'a Footprint,
    pub(crate) sizing: Sizing,
    /// If given, input 0 is the base and the others are the models whose task vectors are measured.
    pub(crate) gather: Option<&'a Gather>,
    pub(crate) combine: Option<&'a Combine<'a>>,
    pub(crate) cancel: &'a AtomicBool,
    /// Called after every block with the bytes of input done and those of the whole pass, from any thread.
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What a pass moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) read: u64,
    pub(crate) peak_buffers: u64,
}

impl Pass<'_> {
    /// Runs the pass to its end, its first error, or its cancellation.
    pub(crate) fn run(&self) -> Result<Moved> {
        // A pass that only gathers skips what is copied.
        let is_skipped = |tensor: &Work| self.combine.is_none() && tensor.copied_from.is_some();
        let elements = self.tensors.iter().map(|tensor| {
            if is_skipped(tensor) {
                0
            } else {
                tensor.spec.elements()
            }
        });
        let blocks = Blocks::new(elements.collect(), self.sizing.block);
        let total = (0..self.tensors.len()).map(|tensor| self.bytes_of(tensor)).sum();
        let ledger = Ledger::default();
        let next = AtomicUsize::new(0);
        let read = AtomicU64::new(0);
        let failure: Mutex<Option<(usize, MergeError)>> = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let worker = || {
            let mut worker = Worker {
                pass: self,
                buffers: Buffers::new(self.footprint, self.sizing.block, &ledger),
                scratch: Scratch::new(self.inputs.len(), self.gather.map_or(0, Gather::models)),
                read: &read,
                total,
            };
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(block) = blocks.get(index) else { break };
                let done = if self.cancel.load(Ordering::Relaxed) {
                    Err(MergeError::Cancelled)
                } else {
                    worker.block(block)
                };
                if let Err(error) = done {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    // Several blocks may fail at once: the earliest one's error is reported.
                    if failure.as_ref().is_none_or(|(earliest, _)| index < *earliest) {
                        *failure = Some((index, error));
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.sizing.workers.min(blocks.len().max(1)) {
                scope.spawn(worker);
            }
            worker();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(Moved {
                read: read.into_inner(),
                peak_buffers: ledger.peak(),
            }),
        }
    }

    /// Bytes that are read of a tensor.
    fn bytes_of(&self, tensor: usize) -> u64 {
        let Some(work) = self.tensors.get(tensor) else {
            return 0;
        };
        let is_read = |input: usize| match work.copied_from {
            Some(owner) => self.combine.is_some() && owner == input,
            None => self.is_needed(tensor, input),
        };
        let read = work
            .inputs
            .iter()
            .enumerate()
            .filter(|(input, _)| is_read(*input));
        read.filter_map(|(_, info)| info.as_ref())
            .map(|info| info.bytes)
            .sum()
    }

    /// Which inputs of a tensor are read.
    fn is_needed(&self, tensor: usize, input: usize) -> bool {
        if self.gather.is_some() {
            return true;
        }
        let recipe = self
            .combine
            .and_then(|combine| combine.recipes.get(tensor)?.as_ref());
        recipe.is_some_and(|recipe| recipe.coefficient(input, self.inputs.len()) != 0.0)
    }
}

/// Chunks in the first-level cache.
struct Scratch {
    values: Vec<[f32; CHUNK]>,
    sum: [f64; CHUNK],
    rounded: [f32; CHUNK],
    gram: GramSum,
}

impl Scratch {
    fn new(inputs: usize, models: usize) -> Scratch {
        Scratch {
            values: vec![[0.0; CHUNK]; inputs],
            sum: [0.0; CHUNK],
            rounded: [0.0; CHUNK],
            gram: GramSum::new(models),
        }
    }
}

struct Worker<'a> {
    pass: &'a Pass<'a>,
    buffers: Buffers<'a>,
    scratch: Scratch,
    read: &'a AtomicU64,
    /// Bytes that the pass reads.
    total: u64,
}

impl Worker<'_> {
    fn block(&mut self, block: Block) -> Result<()> {
        let Some(tensor) = self.pass.tensors.get(block.tensor) else {
            return Ok(());
        };
        match tensor.copied_from {
            Some(input) => self.copy(tensor, input, block),
            None => self.merge(tensor, block),
        }
    }

    /// Moves a block as it is, in pieces that fit the output buffer.
    fn copy(&mut self, tensor: &Work, input: usize, block: Block) -> Result<()> {
        let Some(combine) = self.pass.combine else {
            return Ok(());
        };
        let width = tensor.spec.dtype.size();
        let (mut at, end) = (block.start * width, (block.start + block.len) * width);
        while at < end {
            let count = (end - at).min(self.buffers.output.len());
            let buffer = &mut self.buffers.output[..count];
            fetch(self.pass, tensor, input, at as u64, buffer)?;
            self.read.fetch_add(count as u64, Ordering::Relaxed);
            combine
                .output
                .write(tensor.shard, tensor.offset + at as u64, buffer)?;
            at += count;
        }
        (self.pass.progress)(self.read.load(Ordering::Relaxed), self.total);
        Ok(())
    }

    fn merge(&mut self, tensor: &Work, block: Block) -> Result<()> {
        let needed: Vec<(usize, &TensorInfo)> = tensor
            .inputs
            .iter()
            .enumerate()
            .filter(|(input, _)| self.pass.is_needed(block.tensor, *input))
            .filter_map(|(input, info)| Some((input, info.as_ref()?)))
            .collect();
        for (input, info) in &needed {
            let width = info.dtype.size();
            let buffer = &mut self.buffers.inputs[*input][..block.len * width];
            fetch(self.pass, tensor, *input, (block.start * width) as u64, buffer)?;
            self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        for start in (0..block.len).step_by(CHUNK) {
            let len = CHUNK.min(block.len - start);
            for (input, info) in &needed {
                let width = info.dtype.size();
                let bytes = &self.buffers.inputs[*input][start * width..(start + len) * width];
                let values = &mut self.scratch.values[*input][..len];
                to_f32(info.dtype, bytes, values).map_err(|error| MergeError::Internal(error.to_string()))?;
            }
            if let Some(gather) = self.pass.gather {
                self.gather(gather, block, start, len);
            }
            if let Some(combine) = self.pass.combine {
                self.combine(combine, tensor, block, &needed, start, len)?;
            }
        }
        if let Some(combine) = self.pass.combine {
            let width = tensor.spec.dtype.size();
            let bytes = &self.buffers.output[..block.len * width];
            combine
                .output
                .write(tensor.shard, tensor.offset + (block.start * width) as u64, bytes)?;
        }
        (self.pass.progress)(self.read.load(Ordering::Relaxed), self.total);
        Ok(())
    }

    fn gather(&mut self, gather: &Gather, block: Block, start: usize, len: usize) {
        let Some((base, models)) = self.scratch.values.split_first() else {
            return;
        };
        for (model, values) in models.iter().enumerate() {
            self.scratch.gram.set(model, &values[..len], &base[..len]);
        }
        self.scratch.gram.add(len);
        let end = start + len;
        if end.is_multiple_of(RUN) || end == block.len {
            gather.add(
                block.tensor,
                (block.start + end - 1) / RUN,
                self.scratch.gram.finish(),
            );
        }
    }

    fn combine(
        &mut self,
        combine: &Combine<'_>,
        tensor: &Work,
        block: Block,
        needed: &[(usize, &TensorInfo)],
        start: usize,
        len: usize,
    ) -> Result<()> {
        let Some(Some(recipe)) = combine.recipes.get(block.tensor) else {
            return Err(MergeError::Internal(format!(
                "tensor {} has no recipe",
                tensor.spec.name
            )));
        };
        let inputs = self.pass.inputs.len();
        let values = &self.scratch.values;
        let terms: Vec<Term<'_>> = needed
            .iter()
            .map(|(input, _)| (recipe.coefficient(*input, inputs), &values[*input][..len]))
            .filter(|(coefficient, _)| *coefficient != 0.0)
            .map(|(coefficient, values)| Term { coefficient, values })
            .collect();
        let sum = &mut self.scratch.sum[..len];
        weighted_sum(&terms, sum);
        let rounded = &mut self.scratch.rounded[..len];
        round_to_f32(sum, rounded);
        let dtype = tensor.spec.dtype;
        let bytes = &mut self.buffers.output[start * dtype.size()..(start + len) * dtype.size()];
        from_f32(dtype, rounded, bytes).map_err(|error| MergeError::Internal(error.to_string()))
    }
}

/// Reads from byte `start` of a tensor in one input.
fn fetch(pass: &Pass<'_>, tensor: &Work, input: usize, start: u64, buffer: &mut [u8]) -> Result<()> {
    let (Some((name, source)), Some(Some(info))) = (pass.inputs.get(input), tensor.inputs.get(input)) else {
        return Err(MergeError::Internal(format!(
            "tensor {} is not in input {input}",
            tensor.spec.name
        )));
    };
    source.read(name, info, start, buffer)
}
