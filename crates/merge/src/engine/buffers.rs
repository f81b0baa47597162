//! How large blocks are and how many workers there are, so that all buffers together stay within what is allowed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{MergeError, Result};

/// Largest buffer for one input of one worker when inputs are local: what a core reads should still be in its cache
/// when the kernel uses it. Of 128 KiB to 1 MiB, 256 and 512 KiB were fastest.
const LOCAL_BUFFER: usize = 512 << 10;
/// The same for inputs behind a network, where a request costs tens of milliseconds.
const REMOTE_BUFFER: usize = 8 << 20;
/// Least bytes of a request over a network, where the memory allows it.
const REMOTE_REQUEST: usize = 1 << 20;
/// Workers when inputs are remote: they mostly wait.
const REMOTE_WORKERS: usize = 16;
/// A remote output collects what is written into parts of this size ...
const UPLOAD_PART: usize = 8 << 20;
/// ... and has so many complete ones on their way.
const UPLOADS: usize = 5;

/// Where the two ends of a merge are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Are all inputs on this machine?
    pub(crate) local_inputs: bool,
    /// Is the output?
    pub(crate) local_output: bool,
}

/// What one element of a block occupies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Bytes of an element of each input, its widest tensor counting.
    pub(crate) inputs: Vec<usize>,
    /// Bytes of an element of the output, its widest tensor counting.
    pub(crate) output: usize,
    /// Most vectors whose inner products are measured.
    pub(crate) models: usize,
    /// Elements of the longest chunk, and of the longest run: what blocks are multiples of.
    pub(crate) chunk: usize,
    pub(crate) run: usize,
    /// Most counters of a measurement.
    pub(crate) counts: usize,
    /// How often a tensor is read at most.
    pub(crate) passes: usize,
}

impl Footprint {
    fn element(&self) -> usize {
        self.inputs.iter().sum::<usize>() + self.output
    }

    /// What a worker holds whatever the block size: one chunk of every input as `f32`, sums, partial sums.
    fn scratch(&self) -> usize {
        let chunks = self.chunk * 4 * (self.inputs.len() + self.models + 1) + self.chunk * 8;
        let vectors = self.models + 1;
        chunks + vectors * (vectors + 1) / 2 * 32 * 8 + self.counts * 4
    }
}

/// Workers and block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizing {
    pub(crate) workers: usize,
    /// Elements of a block, a multiple of the longest run.
    pub(crate) block: usize,
    /// Tensors in work at one time.
    pub(crate) open: usize,
    /// Bytes of all workers' buffers together, with what a remote output holds and measurements take.
    pub(crate) bytes: u64,
    /// Bytes of inputs that may be held between two passes over a tensor ...
    pub(crate) hold: u64,
    /// ... in buffers of this size: a block of the widest input.
    pub(crate) buffer: usize,
    /// Is a tensor that is read more than once begun only when there is room to hold it, if there can be?
    pub(crate) waits_for_room: bool,
}

impl Sizing {
    /// The largest blocks worth having for as many workers as fit.
    ///
    /// # Errors
    /// [`MergeError::Memory`] if not even one worker with the smallest block fits.
    pub(crate) fn new(footprint: &Footprint, memory: u64, threads: usize, ends: Ends) -> Result<Sizing> {
        let largest = if ends.local_inputs {
            LOCAL_BUFFER
        } else {
            REMOTE_BUFFER
        };
        let widest = footprint
            .inputs
            .iter()
            .copied()
            .max()
            .unwrap_or(1)
            .max(footprint.output)
            .max(1);
        let run = footprint.run.max(1);
        let wanted = (largest / widest / run).max(1);
        let workers = if ends.local_inputs {
            threads
        } else {
            threads.max(REMOTE_WORKERS)
        }
        .max(1);
        let bytes = |workers: usize, runs: usize| {
            let block = runs * run;
            let worker = block * footprint.element() + footprint.scratch();
            // Blocks of a tensor are claimed in order, so each worker keeps at most the parts open that its block touches.
            let parts = if ends.local_output {
                0
            } else {
                UPLOADS + workers * (block * footprint.output / UPLOAD_PART + 2)
            };
            (workers * worker + parts * UPLOAD_PART + tensors_open(workers) * footprint.counts * 8) as u64
        };
        // What is read more than once had better stay here.
        let for_blocks = if footprint.passes > 1 { memory / 2 } else { memory };
        let for_blocks = for_blocks.max(bytes(1, 1)).min(memory);
        if bytes(1, 1) > memory {
            return Err(MergeError::Memory {
                allowed: memory,
                needed: bytes(1, 1),
            });
        }
        // Workers first: a block larger than the smallest saves little, an idle core costs much. But a request over a network
        // is to be worth its round trip.
        let least = if ends.local_inputs {
            1
        } else {
            (REMOTE_REQUEST / widest / run).clamp(1, wanted)
        };
        let fit = |runs: usize| {
            let mut counts = (1..=workers).rev();
            counts.find(|workers| bytes(*workers, runs) <= for_blocks)
        };
        let workers = fit(least).or_else(|| fit(1)).unwrap_or(1);
        let runs = (1..=wanted)
            .rev()
            .find(|runs| bytes(workers, *runs) <= for_blocks)
            .unwrap_or(1);
        let bytes = bytes(workers, runs);
        Ok(Sizing {
            workers,
            block: runs * run,
            open: tensors_open(workers),
            bytes,
            hold: if footprint.passes > 1 { memory - bytes } else { 0 },
            buffer: runs * run * footprint.inputs.iter().copied().max().unwrap_or(1),
            waits_for_room: !ends.local_inputs,
        })
    }
}

/// Tensors in work at one time: each worker may be at the last block of one.
fn tensors_open(workers: usize) -> usize {
    workers + 1
}

/// Counts the bytes of live buffers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Ledger {
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The block buffers of one worker; their sizes never change.
pub(crate) struct Buffers<'a> {
    pub(crate) inputs: Vec<Box<[u8]>>,
    pub(crate) output: Box<[u8]>,
    ledger: &'a Ledger,
    bytes: u64,
}

impl<'a> Buffers<'a> {
    pub(crate) fn new(footprint: &Footprint, block: usize, ledger: &'a Ledger) -> Buffers<'a> {
        let buffer = |width: usize| vec![0; width * block].into_boxed_slice();
        let bytes = (footprint.element() * block + footprint.scratch()) as u64;
        ledger.add(bytes);
        Buffers {
            inputs: footprint.inputs.iter().map(|width| buffer(*width)).collect(),
            output: buffer(footprint.output),
            ledger,
            bytes,
        }
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        self.ledger.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::RUN;
    use crate::kernel::CHUNK;

    const LOCAL: Ends = Ends {
        local_inputs: true,
        local_output: true,
    };

    #[test]
    fn too_little_memory_says_how_much_is_needed() {
        let footprint = Footprint {
            inputs: vec![2; 4],
            output: 2,
            models: 3,
            chunk: CHUNK,
            run: RUN,
            counts: 0,
            passes: 1,
        };
        let error = Sizing::new(&footprint, 100_000, 2, LOCAL).unwrap_err();
        let MergeError::Memory { needed, .. } = error else {
            panic!("{error}")
        };
        let sizing = Sizing::new(&footprint, needed, 2, LOCAL).unwrap();
        assert_eq!((sizing.workers, sizing.block, sizing.bytes), (1, RUN, needed));
    }

    proptest! {
        #[test]
        fn buffers_fit_the_memory(
            models in 1usize..40, width in prop::sample::select(vec![2usize, 4, 8]), memory in 1u64<<20..1u64<<32,
            threads in 1usize..256, local_inputs: bool, local_output: bool, counts in 0usize..200_000, passes in 1usize..4,
        ) {
            let footprint = Footprint {
                inputs: vec![width; models + 1], output: width, models, chunk: CHUNK, run: RUN, counts, passes,
            };
            let ends = Ends { local_inputs, local_output };
            if let Ok(sizing) = Sizing::new(&footprint, memory, threads, ends) {
                prop_assert!(sizing.bytes + sizing.hold <= memory);
                prop_assert!(sizing.workers >= 1 && sizing.block >= RUN && sizing.block % RUN == 0);
            }
        }
    }
}
