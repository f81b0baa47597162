//! What is measured of one tensor, put together from blocks that are done in any order.
//!
//! Counts may be added in any order. Sums in `f64` may not: those of a run wait until the runs before it are there.

use crate::method::{Measure, Measured};
use crate::statistics::Gram;

/// The measurement of one tensor in work.
pub(super) enum Tally {
    Gram { runs: Vec<Option<Gram>>, zero: Gram },
    Counts(Vec<u64>),
    Sums { runs: Vec<Option<Vec<f64>>>, len: usize },
}

/// What one block adds to it.
pub(super) enum Share {
    /// Number of a run and its inner products.
    Gram(Vec<(usize, Gram)>),
    Counts,
    /// Number of a run and its sums.
    Sums(Vec<(usize, Vec<f64>)>),
}

/// Counters that are added together or, where all are zero, not at all.
const STRETCH: usize = 64;

impl Tally {
    /// For a tensor of `runs` runs, of which `vectors` vectors are multiplied with each other.
    pub(super) fn new(measure: Measure, runs: usize, vectors: usize) -> Tally {
        match measure {
            Measure::Gram(_) => Tally::Gram {
                runs: vec![None; runs],
                zero: Gram::zero(vectors),
            },
            Measure::Counts(len) => Tally::Counts(vec![0; len]),
            Measure::Sums(len) => Tally::Sums {
                runs: vec![None; runs],
                len,
            },
        }
    }

    /// Takes a block's share; `counts` are the worker's own, and are left as they are.
    pub(super) fn add(&mut self, share: Share, counts: &[u32]) {
        match (self, share) {
            (Tally::Gram { runs, .. }, Share::Gram(shares)) => fill(runs, shares),
            (Tally::Sums { runs, .. }, Share::Sums(shares)) => fill(runs, shares),
            (Tally::Counts(sums), Share::Counts) => {
                // Most counters of a block are zero, in long stretches.
                for (sums, counts) in sums.chunks_mut(STRETCH).zip(counts.chunks(STRETCH)) {
                    if counts.iter().any(|count| *count > 0) {
                        for (sum, count) in sums.iter_mut().zip(counts) {
                            *sum += u64::from(*count);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The whole tensor's, once every block's share is there.
    pub(super) fn finish(self) -> Measured {
        match self {
            Tally::Gram { runs, zero: mut sum } => {
                runs.iter().flatten().for_each(|gram| sum.add(gram));
                Measured::Gram(sum)
            }
            Tally::Counts(counts) => Measured::Counts(counts),
            Tally::Sums { runs, len } => {
                let mut sums = vec![0.0; len];
                for run in runs.iter().flatten() {
                    for (sum, value) in sums.iter_mut().zip(run) {
                        *sum += value;
                    }
                }
                Measured::Sums(sums)
            }
        }
    }
}

fn fill<T>(runs: &mut [Option<T>], shares: Vec<(usize, T)>) {
    for (run, share) in shares {
        if let Some(slot) = runs.get_mut(run) {
            *slot = Some(share);
        }
    }
}
