//! One pass over the tensors of a merge: every tensor measured and made as its rule says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tributary_tensorfile::{DType, from_f32, to_f32};

use super::Output;
use super::block::Cut;
use super::buffers::{Buffers, Footprint, Ledger, Sizing};
use super::held::Pool;
use super::made::Made;
use super::queue::{Claim, Job, Open, Queue};
use super::tally::Share;
use super::view::View;
use super::work::Work;
use crate::error::{MergeError, Result};
use crate::kernel::{CHUNK, GramSum, Term, count_beyond, round_to_f32, weighted_sum};
use crate::method::{Chunk, Measure, Of, Rule, Step};
use crate::source::Source;

/// One pass.
pub(crate) struct Pass<'a> {
    /// The models and what messages call them.
    pub(crate) inputs: &'a [(String, Source)],
    pub(crate) tensors: &'a [Work],
    /// How each tensor is made; `None` for copied ones, and without an output for those that are not measured.
    pub(crate) rules: &'a [Option<Box<dyn Rule>>],
    pub(crate) footprint: &'a Footprint,
    pub(crate) sizing: Sizing,
    /// Where the result goes; without it nothing is copied, and rules must only measure.
    pub(crate) output: Option<&'a Output>,
    /// What is measured while combining, of tensors that nothing else measures.
    pub(crate) on_the_way: Option<Measure>,
    pub(crate) cancel: &'a AtomicBool,
    /// Bytes that will be read, as far as that is known.
    pub(crate) total: u64,
    /// Called after every block with the bytes of input done and `total`, from any thread.
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What a pass moved, and what became of every tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) read: u64,
    pub(crate) peak_buffers: u64,
    pub(crate) made: Vec<Made>,
}

/// Fails the block of a worker that panics.
struct Abandoned<'a, 'q> {
    queue: &'a Queue<'q>,
    /// Tensor and block.
    place: (usize, usize),
}

impl Drop for Abandoned<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let error = MergeError::Internal("a thread of the merge panicked".to_string());
            self.queue.fail(self.place, error);
        }
    }
}

/// How many vectors a Gram matrix is of, given the number of inputs.
fn vectors(measure: Measure, inputs: usize) -> usize {
    match measure {
        Measure::Gram(Of::TaskVectors) => inputs.saturating_sub(1),
        Measure::Gram(Of::Models) => inputs,
        Measure::Counts(_) | Measure::Sums(_) => 0,
    }
}

impl Pass<'_> {
    /// Runs the pass to its end, its first error, or its cancellation.
    pub(crate) fn run(&self) -> Result<Moved> {
        let ledger = Ledger::default();
        let jobs: Vec<Job<'_>> = self
            .tensors
            .iter()
            .zip(self.rules)
            .map(|(work, rule)| self.job(work, rule))
            .collect();
        // Shards whose last tensor is made, to be ended when the queue is not held.
        let whole: Mutex<Vec<usize>> = Mutex::default();
        let made = |tensor, made: &Made| {
            let shard = self.output.and_then(|output| output.note(tensor, made));
            whole.lock().unwrap_or_else(PoisonError::into_inner).extend(shard);
        };
        let end_whole = || {
            let shards = std::mem::take(&mut *whole.lock().unwrap_or_else(PoisonError::into_inner));
            let mut output = self
                .output
                .into_iter()
                .flat_map(|output| shards.iter().map(move |shard| (output, *shard)));
            output.try_for_each(|(output, shard)| output.end_shard(shard))
        };
        let queue = Queue::new(jobs, self.on_the_way, &self.sizing, &ledger, &made);
        let read = AtomicU64::new(0);
        let worker = || {
            let mut worker = Worker {
                pass: self,
                buffers: Buffers::new(self.footprint, self.sizing.block, &ledger),
                scratch: Scratch::new(self.footprint.inputs.len()),
                read: &read,
            };
            while let Some(claim) = queue.claim() {
                // Nobody may wait for a block whose worker is gone.
                let place = claim.place();
                let _abandoned = Abandoned { queue: &queue, place };
                let done = if self.cancel.load(Ordering::Relaxed) {
                    Err(MergeError::Cancelled)
                } else {
                    worker.block(&queue, &claim)
                };
                match done {
                    Ok(share) => queue.done(claim, share, &worker.scratch.counts),
                    Err(error) => queue.fail(place, error),
                }
                if let Err(error) = end_whole() {
                    queue.fail(place, error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.sizing.workers {
                scope.spawn(worker);
            }
            worker();
        });
        let made = queue.finish()?;
        // Those of nothing but empty tensors.
        end_whole()?;
        Ok(Moved {
            made,
            read: read.into_inner(),
            peak_buffers: ledger.peak(),
        })
    }

    fn job<'a>(&self, work: &'a Work, rule: &'a Option<Box<dyn Rule>>) -> Job<'a> {
        // What is not made here has no rule or no shard; without an output nothing is copied.
        let is_made = match self.output {
            Some(output) => output.has(work.shard),
            None => rule.is_some(),
        };
        let elements = if is_made { work.spec.elements() } else { 0 };
        let unit = rule.as_ref().map_or(1, |rule| rule.unit());
        let cut = Cut::new(elements, unit, self.sizing.block);
        Job {
            name: &work.spec.name,
            cut,
            rule: rule.as_deref().filter(|_| is_made),
            bytes: (cut.blocks() * work.inputs.len() * self.sizing.buffer) as u64,
            vectors,
            inputs: work.inputs.len(),
        }
    }
}

/// Chunks in the first-level cache, and what a worker counts.
struct Scratch {
    values: Vec<Vec<f32>>,
    sum: Vec<f64>,
    rounded: Vec<f32>,
    counts: Vec<u32>,
    /// By number of vectors: made when first needed.
    gram: Option<GramSum>,
}

impl Scratch {
    fn new(inputs: usize) -> Scratch {
        Scratch {
            values: vec![Vec::new(); inputs],
            sum: Vec::new(),
            rounded: Vec::new(),
            counts: Vec::new(),
            gram: None,
        }
    }

    /// Makes room for chunks of `len` elements.
    fn fit(&mut self, len: usize) {
        if self.sum.len() < len {
            self.values.iter_mut().for_each(|values| values.resize(len, 0.0));
            self.sum.resize(len, 0.0);
            self.rounded.resize(len, 0.0);
        }
    }
}

struct Worker<'a> {
    pass: &'a Pass<'a>,
    buffers: Buffers<'a>,
    scratch: Scratch,
    read: &'a AtomicU64,
}

impl Worker<'_> {
    fn block(&mut self, queue: &Queue<'_>, claim: &Claim) -> Result<Share> {
        let open = &*claim.open;
        let (Some(tensor), Some(job)) = (self.pass.tensors.get(open.tensor), queue.job(open.tensor)) else {
            return Err(MergeError::Internal(format!(
                "there is no tensor {}",
                open.tensor
            )));
        };
        let range = job.cut.block(claim.block);
        let share = match (tensor.is_copied, job.rule) {
            (true, _) => self.copy(tensor, range).map(|()| Share::Counts),
            (false, Some(rule)) => self.merge(tensor, rule, open, (claim.block, &job.cut), &queue.pool),
            (false, None) => Err(MergeError::Internal(format!(
                "tensor {} has no rule",
                tensor.spec.name
            ))),
        };
        (self.pass.progress)(
            self.read.load(Ordering::Relaxed).min(self.pass.total),
            self.pass.total,
        );
        share
    }

    /// Moves a block as it is, in pieces that fit the output buffer.
    fn copy(&mut self, tensor: &Work, range: std::ops::Range<usize>) -> Result<()> {
        let Some(output) = self.pass.output else {
            return Ok(());
        };
        let width = tensor.spec.dtype.size();
        let most = self.buffers.output.len() / width;
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(most);
            let mut buffer = std::mem::take(&mut self.buffers.output);
            let bytes = &mut buffer[..count * width];
            let moved = self
                .load(tensor, 0, at..at + count, bytes)
                .and_then(|()| output.write(tensor.shard, tensor.offset + (at * width) as u64, bytes));
            self.buffers.output = buffer;
            moved?;
            at += count;
        }
        Ok(())
    }

    fn merge(
        &mut self,
        tensor: &Work,
        rule: &dyn Rule,
        open: &Open,
        (block, cut): (usize, &Cut),
        pool: &Pool,
    ) -> Result<Share> {
        let range = cut.block(block);
        let needed = self.needed(tensor, open);
        let held = open.held.as_ref().and_then(|held| held.blocks.get(block));
        match held {
            Some(slot) if slot.get().is_some() => {}
            Some(slot) => {
                let mut inputs = vec![Vec::new(); tensor.inputs.len()];
                for (member, dtype) in &needed {
                    let mut bytes = pool.take(range.len() * dtype.size());
                    self.load(tensor, *member, range.clone(), &mut bytes)?;
                    inputs[*member] = bytes;
                }
                let _ = slot.set(inputs);
            }
            None => {
                for (member, dtype) in &needed {
                    let mut buffer = std::mem::take(&mut self.buffers.inputs[*member]);
                    let bytes = &mut buffer[..range.len() * dtype.size()];
                    let loaded = self.load(tensor, *member, range.clone(), bytes);
                    self.buffers.inputs[*member] = buffer;
                    loaded?;
                }
            }
        }
        let held = held.and_then(|slot| slot.get());

        let mut share = match open.measure {
            Some(Measure::Gram(_)) => Share::Gram(Vec::new()),
            Some(Measure::Sums(_)) => Share::Sums(Vec::new()),
            Some(Measure::Counts(_)) | None => Share::Counts,
        };
        if let Some(Measure::Counts(len)) = open.measure {
            self.scratch.counts.clear();
            self.scratch.counts.resize(len, 0);
        }
        let mut sums = match open.measure {
            Some(Measure::Sums(len)) => vec![0.0; len],
            _ => Vec::new(),
        };
        self.scratch.fit(cut.chunk);
        let mut at = range.start;
        while at < range.end {
            let len = cut.chunk.min(range.end - at);
            for (member, dtype) in &needed {
                let width = dtype.size();
                let bytes = held.map_or(&*self.buffers.inputs[*member], |held| held[*member].as_slice());
                let bytes = &bytes[(at - range.start) * width..(at - range.start + len) * width];
                let values = &mut self.scratch.values[*member][..len];
                to_f32(*dtype, bytes, values).map_err(|error| MergeError::Internal(error.to_string()))?;
            }
            let ends_run = (at + len).is_multiple_of(cut.run) || at + len == range.end;
            let run = at / cut.run;
            let values = &self.scratch.values[..tensor.inputs.len()];
            let chunk = Chunk::new(at, len, values, tensor.has_base);
            match (open.measure, &mut share) {
                (Some(Measure::Gram(of)), Share::Gram(runs)) => {
                    let count = vectors(Measure::Gram(of), tensor.inputs.len());
                    let gram = self.scratch.gram.take().filter(|gram| gram.models() == count);
                    let mut gram = gram.unwrap_or_else(|| GramSum::new(count));
                    add_products(&mut gram, of, values, len);
                    if ends_run {
                        runs.push((run, gram.finish()));
                    }
                    self.scratch.gram = Some(gram);
                }
                (Some(Measure::Sums(_)), Share::Sums(runs)) => {
                    rule.sum(&open.found, &chunk, &mut sums);
                    if ends_run {
                        runs.push((run, sums.clone()));
                        sums.fill(0.0);
                    }
                }
                (Some(Measure::Counts(_)), _) => rule.count(&open.found, &chunk, &mut self.scratch.counts),
                _ => {}
            }
            match &open.step {
                Some(Step::WeightedSum { base, models }) => {
                    self.add_up((*base, models), tensor, &needed, len)
                }
                Some(Step::Combine) => {
                    let sum = &mut self.scratch.sum[..len];
                    rule.combine(&open.found, &chunk, sum);
                }
                _ => {
                    at += len;
                    continue;
                }
            }
            open.not_finite
                .fetch_add(self.round(tensor, at - range.start, len)?, Ordering::Relaxed);
            at += len;
        }
        if let Some(Measure::Counts(_)) = open.measure {
            rule.counted(range.clone(), &self.scratch.counts);
        }
        if matches!(open.step, Some(Step::WeightedSum { .. } | Step::Combine)) {
            let output = self.pass.output;
            let output = output.ok_or_else(|| MergeError::Internal("there is no output".to_string()))?;
            let width = tensor.spec.dtype.size();
            let bytes = &self.buffers.output[..range.len() * width];
            output.write(tensor.shard, tensor.offset + (range.start * width) as u64, bytes)?;
        }
        Ok(share)
    }

    /// The inputs that a step reads: place and type.
    fn needed(&self, tensor: &Work, open: &Open) -> Vec<(usize, DType)> {
        let is_needed = |member: usize| match &open.step {
            Some(Step::WeightedSum { base, models }) if open.measure.is_none() && open.held.is_none() => {
                coefficient(*base, models, member, tensor.inputs.len()) != 0.0
            }
            _ => true,
        };
        let inputs = tensor.inputs.iter().enumerate();
        let needed = inputs.filter(|(member, _)| is_needed(*member));
        needed.map(|(member, input)| (member, input.dtype)).collect()
    }

    fn load(
        &self,
        tensor: &Work,
        member: usize,
        range: std::ops::Range<usize>,
        bytes: &mut [u8],
    ) -> Result<()> {
        let inputs = self.pass.inputs;
        let read = View {
            inputs,
            tensor,
            member,
        }
        .read(range, bytes)?;
        self.read.fetch_add(read, Ordering::Relaxed);
        Ok(())
    }

    fn add_up(
        &mut self,
        (base, models): (f64, &[f64]),
        tensor: &Work,
        needed: &[(usize, DType)],
        len: usize,
    ) {
        let terms: Vec<Term<'_>> = needed
            .iter()
            .map(|(member, _)| Term {
                coefficient: coefficient(base, models, *member, tensor.inputs.len()),
                values: &self.scratch.values[*member][..len],
            })
            .filter(|term| term.coefficient != 0.0)
            .collect();
        weighted_sum(&terms, &mut self.scratch.sum[..len]);
    }

    /// Rounds a chunk into the output buffer; gives the number of values that are no finite number there.
    fn round(&mut self, tensor: &Work, start: usize, len: usize) -> Result<u64> {
        let rounded = &mut self.scratch.rounded[..len];
        round_to_f32(&self.scratch.sum[..len], rounded);
        let dtype = tensor.spec.dtype;
        let bytes = &mut self.buffers.output[start * dtype.size()..(start + len) * dtype.size()];
        from_f32(dtype, rounded, bytes).map_err(|error| MergeError::Internal(error.to_string()))?;
        Ok(count_beyond(rounded, infinite_from(dtype)))
    }
}

/// The magnitude from which on values of a type are infinite: half a step past the largest.
fn infinite_from(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 65520.0,
        DType::BF16 => f32::from_bits(0x7f7f_8000),
        _ => f32::INFINITY,
    }
}

/// The coefficient of input number `input` out of `inputs`, which are the models, after the base if it is read.
pub(crate) fn coefficient(base: f64, models: &[f64], input: usize, inputs: usize) -> f64 {
    match input.checked_sub(inputs.saturating_sub(models.len())) {
        Some(model) => models.get(model).copied().unwrap_or(0.0),
        None => base,
    }
}

/// Adds a chunk's inner products, in pieces that the kernel takes.
fn add_products(gram: &mut GramSum, of: Of, values: &[Vec<f32>], len: usize) {
    for start in (0..len).step_by(CHUNK) {
        let end = (start + CHUNK).min(len);
        match (of, values.split_first()) {
            (Of::TaskVectors, Some((base, models))) => {
                for (model, values) in models.iter().enumerate() {
                    gram.set_difference(model, &values[start..end], &base[start..end]);
                }
            }
            _ => {
                for (model, values) in values.iter().enumerate() {
                    gram.set(model, &values[start..end]);
                }
            }
        }
        gram.add(end - start);
    }
}
