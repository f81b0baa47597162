//! Exact order statistics of a tensor, without holding it: which elements are among the k largest in magnitude.
//!
//! The bits of a non-negative `f32` are in the order of the numbers, so two passes of counting find the magnitude of rank k: by
//! the upper 16 of its 31 bits, then by the lower 15 of those that share them. Where several elements have just that
//! magnitude and not all of them belong, they are counted by chunk, and the first ones in the tensor's order are taken. So
//! exactly k elements belong, the same ones whatever the number of threads. That counting is a third pass, but for magnitudes
//! whose lower 15 bits are zero, which the second pass counts on the way: differences of bfloat16 weights have few distinct
//! values, and almost all of them are such.

use std::sync::{OnceLock, PoisonError, RwLock};

use super::{Measure, Measured};
use crate::kernel::{CHUNK, vectorised};

const UPPER: usize = 1 << 16;
const LOWER: usize = 1 << 15;
const LOW_BITS: u32 = (1 << 15) - 1;

/// The k largest of one of several vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Number of the vector.
    pub(super) vector: usize,
    /// How many of its elements belong.
    pub(super) k: usize,
}

/// Cuts through several vectors of equal length.
pub(super) struct Ranks {
    vectors: usize,
    elements: usize,
    cuts: Vec<Cut>,
    /// Are only the magnitudes wanted, not who belongs?
    only_values: bool,
    upper: OnceLock<Vec<Found>>,
    exact: OnceLock<Vec<Found>>,
    /// Of every cut: elements of just its magnitude before each chunk; nothing where none need be counted.
    before: RwLock<Vec<Vec<u64>>>,
}

/// What is known of a cut: the leading bits of its magnitude, and how many elements with those bits belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    bits: u32,
    /// Elements with these bits that belong.
    quota: u64,
    /// Elements with these bits.
    equal: u64,
}

/// The order of magnitudes as integers.
#[inline(always)]
pub(super) fn key(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

impl Ranks {
    /// `cuts` through `vectors` vectors of `elements` elements.
    pub(super) fn new(vectors: usize, elements: usize, cuts: Vec<Cut>) -> Ranks {
        Ranks {
            vectors,
            elements,
            cuts,
            only_values: false,
            upper: OnceLock::new(),
            exact: OnceLock::new(),
            before: RwLock::default(),
        }
    }

    /// As [`Self::new`], for cuts whose magnitudes alone are asked for; every k is in 1..=elements.
    pub(super) fn of_values(vectors: usize, elements: usize, cuts: Vec<Cut>) -> Ranks {
        Ranks {
            only_values: true,
            ..Self::new(vectors, elements, cuts)
        }
    }

    /// The magnitude of rank k of cut number `index`.
    pub(super) fn value(&self, index: usize) -> f32 {
        let exact = self.exact.get().and_then(|exact| exact.get(index));
        exact.map_or(f32::NAN, |found| f32::from_bits(found.bits))
    }

    /// Passes that counting takes at most.
    pub(super) fn passes(&self) -> usize {
        match (self.is_trivial(), self.only_values) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 3,
        }
    }

    /// Most counters at one time.
    pub(super) fn counts(&self) -> usize {
        (self.vectors * UPPER).max(self.cuts.len() * (LOWER + self.chunks()))
    }

    fn chunks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    /// What is to be counted next, after so many passes; `None` when every cut is known.
    pub(super) fn next(&self, found: &[Measured]) -> Option<Measure> {
        if self.is_trivial() {
            return None;
        }
        let counts = |pass: usize| match found.get(pass) {
            Some(Measured::Counts(counts)) => counts.as_slice(),
            _ => &[],
        };
        match found.len() {
            0 => return Some(Measure::Counts(self.vectors * UPPER)),
            1 => {
                let find = |cut: &Cut| descend(&counts(0)[cut.vector * UPPER..][..UPPER], cut.k as u64);
                let _ = self.upper.set(self.cuts.iter().map(find).collect());
                return Some(Measure::Counts(self.cuts.len() * (LOWER + self.chunks())));
            }
            2 => {
                let uppers = self.upper.get().map_or(&[][..], Vec::as_slice);
                let find = |(index, upper): (usize, &Found)| {
                    let lower = descend(
                        &counts(1)[index * (LOWER + self.chunks())..][..LOWER],
                        upper.quota,
                    );
                    Found {
                        bits: (upper.bits << 15) | lower.bits,
                        ..lower
                    }
                };
                let exact: Vec<Found> = uppers.iter().enumerate().map(find).collect();
                let is_tied = |found: &&Found| 0 < found.quota && found.quota < found.equal;
                let is_open = |found: &Found| found.bits & LOW_BITS != 0;
                let (has_ties, is_open) = (
                    exact.iter().any(|found| is_tied(&found)),
                    exact.iter().filter(is_tied).any(is_open),
                );
                let _ = self.exact.set(exact);
                if is_open && !self.only_values {
                    return Some(Measure::Counts(self.cuts.len() * self.chunks()));
                }
                if has_ties && !self.only_values {
                    let of =
                        |index: usize| &counts(1)[index * (LOWER + self.chunks()) + LOWER..][..self.chunks()];
                    self.note_before(of);
                }
            }
            _ => self.note_before(|index| &counts(2)[index * self.chunks()..][..self.chunks()]),
        }
        None
    }

    /// Keeps how many elements of just its magnitude come before each chunk, by cut, from the numbers within the chunks.
    fn note_before<'c>(&self, of: impl Fn(usize) -> &'c [u64]) {
        let sums = |index: usize| {
            let before = of(index).iter().scan(0, |sum, count| {
                *sum += count;
                Some(*sum - count)
            });
            before.collect()
        };
        self.set_before((0..self.cuts.len()).map(sums).collect());
    }

    /// Forgets the counts by chunk, which are all that grows with the tensor: nobody asks any more who belongs.
    pub(super) fn forget(&self) {
        self.set_before(Vec::new());
    }

    fn set_before(&self, counts: Vec<Vec<u64>>) {
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Elements of just the magnitude of cut number `index` before the chunk that begins at `start`.
    fn before(&self, index: usize, start: usize) -> u64 {
        let before = self.before.read().unwrap_or_else(PoisonError::into_inner);
        before.get(index).map_or(0, |before| before[start / CHUNK])
    }

    /// Counts the elements of one vector in the chunk that begins at `start`, in pass number `pass`.
    pub(super) fn count(&self, pass: usize, vector: usize, start: usize, values: &[f32], counts: &mut [u32]) {
        match pass {
            0 => {
                let counts = &mut counts[vector * UPPER..][..UPPER];
                for value in values {
                    counts[(key(*value) >> 15) as usize] += 1;
                }
            }
            1 => {
                for (index, upper) in self.of(vector, &self.upper) {
                    let counts = &mut counts[index * (LOWER + self.chunks())..][..LOWER + self.chunks()];
                    let (counts, by_chunk) = counts.split_at_mut(LOWER);
                    let least = upper.bits << 15;
                    let equal = vectorised(
                        #[inline(always)]
                        || count_lower(values, least, counts),
                    );
                    counts[0] += equal;
                    by_chunk[start / CHUNK] += equal;
                }
            }
            _ => {
                for (index, exact) in self.of(vector, &self.exact) {
                    let equal = vectorised(
                        #[inline(always)]
                        || count_equal(values, exact.bits),
                    );
                    counts[index * self.chunks() + start / CHUNK] += equal;
                }
            }
        }
    }

    /// Says of each element of the chunk that begins at `start` whether it belongs to cut number `index`.
    pub(super) fn belongs(
        &self,
        index: usize,
        start: usize,
        values: &[f32],
        mut say: impl FnMut(usize, bool),
    ) {
        let k = self.cuts[index].k;
        if k == 0 || k >= self.elements {
            (0..values.len()).for_each(|at| say(at, k > 0));
            return;
        }
        let found = self.exact.get().map(|exact| exact[index]).unwrap_or_default();
        let mut left = found.quota.saturating_sub(self.before(index, start));
        for (at, value) in values.iter().enumerate() {
            let key = key(*value);
            let is_tied = key == found.bits;
            say(at, key > found.bits || (is_tied && left > 0));
            left = left.saturating_sub(u64::from(is_tied));
        }
    }

    /// Sets the elements of the chunk that begins at `start` to zero that do not belong to cut number `index`.
    pub(super) fn keep(&self, index: usize, start: usize, values: &mut [f32]) {
        let k = self.cuts[index].k;
        let found = self.exact.get().map(|exact| exact[index]).unwrap_or_default();
        let left = found.quota.saturating_sub(self.before(index, start));
        // Almost everywhere either all that are tied belong, or none.
        let least = match () {
            () if k >= self.elements => 0,
            () if k == 0 => u32::MAX,
            () if left >= values.len() as u64 || found.quota == found.equal => found.bits,
            () if left == 0 => found.bits + 1,
            () => {
                let all = values.to_vec();
                return self.belongs(index, start, &all, |at, belongs| {
                    if !belongs {
                        values[at] = 0.0;
                    }
                });
            }
        };
        vectorised(
            #[inline(always)]
            || {
                for value in values.iter_mut() {
                    let kept = if key(*value) >= least { u32::MAX } else { 0 };
                    *value = f32::from_bits(value.to_bits() & kept);
                }
            },
        );
    }

    fn is_trivial(&self) -> bool {
        !self.only_values && self.cuts.iter().all(|cut| cut.k == 0 || cut.k >= self.elements)
    }

    fn of<'a>(
        &'a self,
        vector: usize,
        found: &'a OnceLock<Vec<Found>>,
    ) -> impl Iterator<Item = (usize, Found)> + 'a {
        let found = found.get().map_or(&[][..], Vec::as_slice);
        let cuts = self.cuts.iter().zip(found).enumerate();
        cuts.filter(move |(_, (cut, _))| cut.vector == vector)
            .map(|(index, (_, found))| (index, *found))
    }
}

/// Elements that are looked at together.
const LANES: usize = 32;

/// The number of elements whose key is `least`, whose lower bits are zero; those that share the upper bits only are counted
/// by their lower bits.
#[inline(always)]
fn count_lower(values: &[f32], least: u32, counts: &mut [u32]) -> u32 {
    let mut equal = 0;
    for lane in values.chunks(LANES) {
        let mut others = 0u32;
        for value in lane {
            // Zero for the least key of the bin, up to LOW_BITS within it, more outside.
            let above = key(*value).wrapping_sub(least);
            equal += u32::from(above == 0);
            others += u32::from(above.wrapping_sub(1) < LOW_BITS);
        }
        if others > 0 {
            for value in lane {
                let above = key(*value).wrapping_sub(least);
                if above.wrapping_sub(1) < LOW_BITS {
                    counts[above as usize] += 1;
                }
            }
        }
    }
    equal
}

#[inline(always)]
fn count_equal(values: &[f32], bits: u32) -> u32 {
    values.iter().map(|value| u32::from(key(*value) == bits)).sum()
}

/// Where the element of descending rank `k` lies in a histogram.
fn descend(counts: &[u64], k: u64) -> Found {
    let mut left = k;
    for (bits, count) in counts.iter().enumerate().rev() {
        if left <= *count {
            return Found {
                bits: bits as u32,
                quota: left,
                equal: *count,
            };
        }
        left -= count;
    }
    Found::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts a vector in pieces, as the engine does.
    fn select(values: &[f32], k: usize) -> Vec<bool> {
        let ranks = Ranks::new(1, values.len(), vec![Cut { vector: 0, k }]);
        let mut found = Vec::new();
        while let Some(Measure::Counts(len)) = ranks.next(&found) {
            let mut counts = vec![0; len];
            for (chunk, values) in values.chunks(CHUNK).enumerate() {
                ranks.count(found.len(), 0, chunk * CHUNK, values, &mut counts);
            }
            found.push(Measured::Counts(counts.into_iter().map(u64::from).collect()));
        }
        let mut all = vec![false; values.len()];
        for (chunk, values) in values.chunks(CHUNK).enumerate() {
            ranks.belongs(0, chunk * CHUNK, values, |at, belongs| {
                all[chunk * CHUNK + at] = belongs
            });
        }
        all
    }

    fn check(values: &[f32], k: usize) {
        let belongs = select(values, k);
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(key(values[*at])), *at));
        for (rank, at) in order.into_iter().enumerate() {
            assert_eq!(
                belongs[at],
                rank < k,
                "rank {rank} of {} with k = {k}",
                values.len()
            );
        }
    }

    #[test]
    fn ties_go_to_the_first() {
        // With lower bits that are zero, as in differences of bfloat16 numbers, and with others.
        for quarters in [[0.5, -0.5, 0.25, 0.0], [0.1, -0.1, 0.3, 0.1000001]] {
            let values: Vec<f32> = (0..5000).map(|at| quarters[at % 4]).collect();
            for k in [0, 1, 2, 2499, 2500, 2501, 3750, 3751, 4999, 5000, 6000] {
                check(&values, k);
            }
        }
    }

    proptest! {
        #[test]
        fn exactly_k_belong(values in prop::collection::vec(prop_oneof![any::<f32>(), Just(1.0), Just(-1.0)], 1..3000), share in 0.0f64..1.1) {
            let k = (values.len() as f64 * share) as usize;
            check(&values, k);
        }
    }
}
