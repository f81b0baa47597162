//! How large blocks are and how many workers there are, so that all buffers together stay within what is allowed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::RUN;
use crate::error::{MergeError, Result};
use crate::kernel::CHUNK;

/// Largest buffer for one input of one worker when inputs are local: what a core reads should still be in its cache
/// when the kernel uses it. Of 128 KiB to 1 MiB, 256 and 512 KiB were fastest.
const LOCAL_BUFFER: usize = 512 << 10;
/// The same for inputs behind a network, where a request costs tens of milliseconds.
const REMOTE_BUFFER: usize = 8 << 20;
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
    /// Number of task vectors in statistics.
    pub(crate) models: usize,
}

impl Footprint {
    fn element(&self) -> usize {
        self.inputs.iter().sum::<usize>() + self.output
    }

    /// What a worker holds whatever the block size: one chunk of every input as `f32`, sums, partial sums.
    fn scratch(&self) -> usize {
        let chunks = CHUNK * 4 * (self.inputs.len() + self.models + 1) + CHUNK * 8;
        chunks + self.models * (self.models + 1) / 2 * 32 * 8
    }
}

/// Workers and block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizing {
    pub(crate) workers: usize,
    /// Elements of a block, a multiple of [`RUN`].
    pub(crate) block: usize,
    /// Bytes of all workers' buffers together, with what a remote output holds.
    pub(crate) bytes: u64,
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
        let wanted = (largest / widest / RUN).max(1);
        let workers = if ends.local_inputs {
            threads
        } else {
            threads.max(REMOTE_WORKERS)
        }
        .max(1);
        let bytes = |workers: usize, runs: usize| {
            let block = runs * RUN;
            let worker = block * footprint.element() + footprint.scratch();
            // Blocks are claimed in order, so each worker keeps at most the parts open that its block touches.
            let parts = if ends.local_output {
                0
            } else {
                UPLOADS + workers * (block * footprint.output / UPLOAD_PART + 2)
            };
            (workers * worker + parts * UPLOAD_PART) as u64
        };
        if bytes(1, 1) > memory {
            return Err(MergeError::Memory {
                allowed: memory,
                needed: bytes(1, 1),
            });
        }
        // Workers first: a block larger than the smallest saves little, an idle core costs much.
        let workers = (1..=workers)
            .rev()
            .find(|workers| bytes(*workers, 1) <= memory)
            .unwrap_or(1);
        let runs = (1..=wanted)
            .rev()
            .find(|runs| bytes(workers, *runs) <= memory)
            .unwrap_or(1);
        Ok(Sizing {
            workers,
            block: runs * RUN,
            bytes: bytes(workers, runs),
        })
    }
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

    fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
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
        self.ledger.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            threads in 1usize..256, local_inputs: bool, local_output: bool,
        ) {
            let footprint = Footprint { inputs: vec![width; models + 1], output: width, models };
            let ends = Ends { local_inputs, local_output };
            if let Ok(sizing) = Sizing::new(&footprint, memory, threads, ends) {
                prop_assert!(sizing.bytes <= memory);
                prop_assert!(sizing.workers >= 1 && sizing.block >= RUN && sizing.block % RUN == 0);
            }
        }
    }
}
