//! Exact order statistics of a tensor, without holding it: which elements are among the k largest in magnitude.
//!
//! The bits of a non-negative `f32` are in the order of the numbers, so counting finds the magnitude of rank k. The first pass
//! counts by the upper 15 of its 31 bits, and apart those whose lower 16 are zero, which come first in a bin: differences of
//! bfloat16 weights almost all are such, and if rank k is one of them its magnitude is known. If not, a second pass counts
//! the others of its bin by their lower bits.
//!
//! Where several elements have just that magnitude and not all of them belong, the first ones in the tensor's order are taken, so
//! exactly k elements belong, the same ones whatever the number of threads. For that, what comes before must be known.
//! Blocks are counted one by one, and a window of bins around what the first finished block has at rank k is kept of each
//! ([`Ranks::counted`]): mostly it holds the magnitude, which tells in which block the last of those elements lies, and there
//! they are counted off while they are taken. Else another pass counts them by chunk.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use super::{Measure, Measured};
use crate::kernel::{CHUNK, vectorised};

/// Bits of a magnitude that the first pass leaves out.
const LOWER: u32 = 16;
const LOW_BITS: u32 = (1 << LOWER) - 1;
/// Counters of the first pass for a vector: two for each bin, of its least magnitude and of the others.
const BINS: usize = 2 << (31 - LOWER);
/// Counters of the second pass for a cut.
const LOWS: usize = 1 << LOWER;
/// Counters that are kept of a block for a cut: those of 64 bins, half a power of two.
const WINDOW: usize = 128;

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
    /// By counters of the first pass.
    bins: OnceLock<Vec<Found>>,
    /// By magnitude.
    exact: OnceLock<Vec<Found>>,
    /// First counter of each cut's window.
    windows: OnceLock<Vec<usize>>,
    /// Of every finished block, the counters within the windows.
    blocks: Mutex<Vec<(Range<usize>, Vec<u32>)>>,
    /// Of every cut.
    edges: RwLock<Vec<Edge>>,
}

/// What is known of a cut: its magnitude, or the counter it falls into, and how many elements of that belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    bits: u32,
    /// Elements with these bits that belong.
    quota: u64,
    /// Elements with these bits.
    equal: u64,
}

impl Found {
    /// Of a counter of the first pass: is the magnitude known, or of no interest?
    fn is_known(&self) -> bool {
        self.bits & 1 == 0 || self.quota == 0
    }

    /// Do some belong and others not?
    fn is_tied(&self) -> bool {
        0 < self.quota && self.quota < self.equal
    }
}

/// Which elements of just the magnitude of a cut belong.
enum Edge {
    /// All of them.
    Beyond,
    /// Those before a block, and the first `quota` in it.
    Block {
        range: Range<usize>,
        quota: u64,
        /// How many are left to the rest of the block, whose chunks come in order.
        left: AtomicU64,
    },
    /// The first `quota`, of which so many come before each chunk.
    Chunks { quota: u64, before: Vec<u64> },
}

impl Edge {
    /// How many elements of just the magnitude belong from `start` on, where a chunk begins.
    fn left(&self, start: usize) -> u64 {
        match self {
            Edge::Beyond => u64::MAX,
            Edge::Block { range, .. } if start < range.start => u64::MAX,
            Edge::Block { range, .. } if start >= range.end => 0,
            Edge::Block { range, quota, .. } if start == range.start => *quota,
            Edge::Block { left, .. } => left.load(Ordering::Relaxed),
            Edge::Chunks { quota, before } => match quota.saturating_sub(before[start / CHUNK]) {
                left if left >= CHUNK as u64 => u64::MAX,
                left => left,
            },
        }
    }

    /// Of those, so many are left after the chunk.
    fn leave(&self, start: usize, rest: u64) {
        if let Edge::Block { range, left, .. } = self
            && range.contains(&start)
        {
            left.store(rest, Ordering::Relaxed);
        }
    }
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
            bins: OnceLock::new(),
            exact: OnceLock::new(),
            windows: OnceLock::new(),
            blocks: Mutex::default(),
            edges: RwLock::default(),
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
        (self.vectors * BINS).max(self.cuts.len() * LOWS.max(self.chunks()))
    }

    fn chunks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    /// What is to be counted next, after so many passes; `None` when every cut is known.
    pub(super) fn next(&self, found: &[Measured]) -> Option<Measure> {
        if self.is_trivial() {
            return None;
        }
        let Some(Measured::Counts(counts)) = found.last() else {
            return Some(Measure::Counts(self.vectors * BINS));
        };
        if self.bins.get().is_none() {
            let find = |cut: &Cut| descend(&counts[cut.vector * BINS..][..BINS], cut.k as u64);
            let bins = self.bins.get_or_init(|| self.cuts.iter().map(find).collect());
            if !bins.iter().all(Found::is_known) {
                return Some(Measure::Counts(self.cuts.len() * LOWS));
            }
        }
        if self.exact.get().is_none() {
            let exact = |(index, bin): (usize, &Found)| match bin.is_known() {
                true => Found {
                    bits: least(bin.bits),
                    ..*bin
                },
                false => {
                    let found = descend(&counts[index * LOWS..][..LOWS], bin.quota);
                    Found {
                        bits: least(bin.bits) | found.bits,
                        ..found
                    }
                }
            };
            let bins = self.bins.get().map_or(&[][..], Vec::as_slice);
            let _ = self.exact.set(bins.iter().enumerate().map(exact).collect());
            if self.only_values || self.find_blocks() {
                return None;
            }
            return Some(Measure::Counts(self.cuts.len() * self.chunks()));
        }
        let before = |index: usize| {
            let by_chunk = counts[index * self.chunks()..][..self.chunks()].iter();
            let before = by_chunk.scan(0, |sum, count| {
                *sum += count;
                Some(*sum - count)
            });
            before.collect()
        };
        let edge = |(index, found): (usize, &Found)| match found.is_tied() {
            false => Edge::Beyond,
            true => Edge::Chunks {
                quota: found.quota,
                before: before(index),
            },
        };
        let exact = self.exact.get().map_or(&[][..], Vec::as_slice);
        self.set_edges(exact.iter().enumerate().map(edge).collect());
        None
    }

    /// Keeps what may tell later how many elements of a magnitude a block of the tensor has; `counts` are those of one pass over it.
    pub(super) fn counted(&self, range: Range<usize>, counts: &[u32]) {
        if self.only_values || self.bins.get().is_some() || self.is_trivial() {
            return;
        }
        let of = |cut: &Cut| &counts[cut.vector * BINS..][..BINS];
        let windows = self.windows.get_or_init(|| {
            let first = |cut: &Cut| {
                let share = cut.k as f64 / self.elements as f64;
                let bin = descend(of(cut), (share * range.len() as f64) as u64).bits as usize;
                bin.saturating_sub(WINDOW / 2).min(BINS - WINDOW)
            };
            self.cuts.iter().map(first).collect()
        });
        let within = |(cut, first): (&Cut, &usize)| of(cut)[*first..*first + WINDOW].to_vec();
        let kept = self.cuts.iter().zip(windows).flat_map(within).collect();
        self.blocks().push((range, kept));
    }

    /// Finds for every cut the block of the last element that belongs, if the windows of all blocks hold its magnitude.
    fn find_blocks(&self) -> bool {
        let mut blocks = std::mem::take(&mut *self.blocks());
        blocks.sort_by_key(|(range, _)| range.start);
        let is_whole = blocks.iter().map(|(range, _)| range.len()).sum::<usize>() == self.elements;
        let bins = self.bins.get().map_or(&[][..], Vec::as_slice);
        let edge = |(index, bin): (usize, &Found)| {
            let exact = self.exact.get()?.get(index)?;
            if !exact.is_tied() {
                return Some(Edge::Beyond);
            }
            let first = *self
                .windows
                .get()
                .filter(|_| bin.is_known() && is_whole)?
                .get(index)?;
            let place = (bin.bits as usize)
                .checked_sub(first)
                .filter(|place| *place < WINDOW)?;
            let mut left = bin.quota;
            for (range, kept) in &blocks {
                let equal = u64::from(kept[index * WINDOW + place]);
                if left <= equal {
                    return Some(Edge::Block {
                        range: range.clone(),
                        quota: left,
                        left: AtomicU64::new(left),
                    });
                }
                left -= equal;
            }
            None
        };
        let edges: Option<Vec<Edge>> = bins.iter().enumerate().map(edge).collect();
        let are_known = edges.is_some();
        self.set_edges(edges.unwrap_or_default());
        are_known
    }

    /// Forgets what grows with the tensor: nobody asks any more who belongs.
    pub(super) fn forget(&self) {
        self.set_edges(Vec::new());
    }

    fn set_edges(&self, edges: Vec<Edge>) {
        *self.edges.write().unwrap_or_else(PoisonError::into_inner) = edges;
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Vec<(Range<usize>, Vec<u32>)>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the elements of one vector in the chunk that begins at `start`.
    pub(super) fn count(&self, vector: usize, start: usize, values: &[f32], counts: &mut [u32]) {
        let Some(bins) = self.bins.get() else {
            return count_bins(values, &mut counts[vector * BINS..][..BINS]);
        };
        let cuts = self.cuts.iter().enumerate();
        for (index, _) in cuts.filter(|(_, cut)| cut.vector == vector) {
            match self.exact.get() {
                None if bins[index].is_known() => {}
                None => {
                    let counts = &mut counts[index * LOWS..][..LOWS];
                    let least = least(bins[index].bits);
                    vectorised(
                        #[inline(always)]
                        || count_lower(values, least, counts),
                    );
                }
                Some(exact) => {
                    let equal = vectorised(
                        #[inline(always)]
                        || count_equal(values, exact[index].bits),
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
        let bits = self.found(index).bits;
        let mut left = self.left(index, start);
        for (at, value) in values.iter().enumerate() {
            let key = key(*value);
            let is_tied = key == bits;
            say(at, key > bits || (is_tied && left > 0));
            left = left.saturating_sub(u64::from(is_tied));
        }
        self.leave(index, start, left);
    }

    /// Sets the elements of the chunk that begins at `start` to zero that do not belong to cut number `index`.
    pub(super) fn keep(&self, index: usize, start: usize, values: &mut [f32]) {
        let k = self.cuts[index].k;
        let bits = self.found(index).bits;
        let left = self.left(index, start);
        // Almost everywhere either all that are tied belong, or none.
        let least = match () {
            () if k >= self.elements => 0,
            () if k == 0 => u32::MAX,
            () if left == u64::MAX => bits,
            () if left == 0 => bits + 1,
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

    fn found(&self, index: usize) -> Found {
        self.exact.get().map(|exact| exact[index]).unwrap_or_default()
    }

    fn left(&self, index: usize, start: usize) -> u64 {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        edges.get(index).map_or(0, |edge| edge.left(start))
    }

    fn leave(&self, index: usize, start: usize, rest: u64) {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(edge) = edges.get(index) {
            edge.leave(start, rest);
        }
    }

    fn is_trivial(&self) -> bool {
        !self.only_values && self.cuts.iter().all(|cut| cut.k == 0 || cut.k >= self.elements)
    }
}

/// The counter of the first pass that a magnitude falls into.
#[inline(always)]
fn bin(key: u32) -> u32 {
    ((key >> LOWER) << 1) | u32::from(key & LOW_BITS != 0)
}

/// The least magnitude of the bin.
fn least(bin: u32) -> u32 {
    (bin >> 1) << LOWER
}

/// Elements that are looked at together.
const LANES: usize = 32;
/// Elements whose bins are found together.
const PIECE: usize = 512;

/// Counts by bin. Which bins they are is vector code, and counting is not: one after the other, in pieces.
fn count_bins(values: &[f32], counts: &mut [u32]) {
    let mut bins = [0u16; PIECE];
    for values in values.chunks(PIECE) {
        let bins = &mut bins[..values.len()];
        vectorised(
            #[inline(always)]
            || {
                for (found, value) in bins.iter_mut().zip(values) {
                    *found = bin(key(*value)) as u16;
                }
            },
        );
        for bin in bins {
            counts[usize::from(*bin)] += 1;
        }
    }
}

/// Counts the elements that share the upper bits of `least`, whose lower bits are zero, by their own lower bits; not those that
/// are `least`.
#[inline(always)]
fn count_lower(values: &[f32], least: u32, counts: &mut [u32]) {
    for lane in values.chunks(LANES) {
        let mut within = 0u32;
        for value in lane {
            // Zero for the least key of the bin, up to LOW_BITS within it, more outside.
            let above = key(*value).wrapping_sub(least);
            within += u32::from(above.wrapping_sub(1) < LOW_BITS);
        }
        if within > 0 {
            for value in lane {
                let above = key(*value).wrapping_sub(least);
                if above.wrapping_sub(1) < LOW_BITS {
                    counts[above as usize] += 1;
                }
            }
        }
    }
}

#[inline(always)]
fn count_equal(values: &[f32], bits: u32) -> u32 {
    values.iter().map(|value| u32::from(key(*value) == bits)).sum()
}

/// Where the element of descending rank `k` lies in a histogram.
fn descend(counts: &[impl Copy + Into<u64>], k: u64) -> Found {
    let mut left = k;
    for (bits, count) in counts.iter().enumerate().rev() {
        let count: u64 = (*count).into();
        if left <= count {
            return Found {
                bits: bits as u32,
                quota: left,
                equal: count,
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

    /// Elements of a block.
    const BLOCK: usize = 2 * CHUNK;

    /// Counts a vector in pieces, as the engine does, and tells what each block had if it is to know.
    fn select(values: &[f32], k: usize, tells_blocks: bool) -> (Vec<bool>, usize) {
        let ranks = Ranks::new(1, values.len(), vec![Cut { vector: 0, k }]);
        let mut found = Vec::new();
        while let Some(Measure::Counts(len)) = ranks.next(&found) {
            let mut all = vec![0u64; len];
            for (block, values) in values.chunks(BLOCK).enumerate() {
                let mut counts = vec![0; len];
                for (chunk, values) in values.chunks(CHUNK).enumerate() {
                    ranks.count(0, block * BLOCK + chunk * CHUNK, values, &mut counts);
                }
                if tells_blocks {
                    ranks.counted(block * BLOCK..block * BLOCK + values.len(), &counts);
                }
                all.iter_mut()
                    .zip(counts)
                    .for_each(|(all, count)| *all += u64::from(count));
            }
            found.push(Measured::Counts(all));
        }
        let mut all = vec![false; values.len()];
        for (chunk, values) in values.chunks(CHUNK).enumerate() {
            ranks.belongs(0, chunk * CHUNK, values, |at, belongs| {
                all[chunk * CHUNK + at] = belongs
            });
        }
        // A tensor may be gone through more than once.
        for (chunk, values) in values.chunks(CHUNK).enumerate() {
            let mut kept = values.to_vec();
            ranks.keep(0, chunk * CHUNK, &mut kept);
            for ((kept, value), belongs) in kept.iter().zip(values).zip(&all[chunk * CHUNK..]) {
                assert_eq!(kept.to_bits(), if *belongs { value.to_bits() } else { 0 });
            }
        }
        (all, found.len())
    }

    fn check(values: &[f32], k: usize) {
        let (belongs, _) = select(values, k, false);
        assert_eq!(belongs, select(values, k, true).0);
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

    #[test]
    fn one_pass_is_enough_for_differences_of_bfloat16() {
        let values: Vec<f32> = (0..50_000u32)
            .map(|at| {
                let bits = at.wrapping_mul(2_654_435_761) >> 8;
                f32::from_bits((0x3c00_0000 + bits % 0x0300_0000) & !LOW_BITS)
            })
            .collect();
        for k in [5_000, 20_000, 25_001, 45_000] {
            assert_eq!(select(&values, k, true).1, 1);
            check(&values, k);
        }
    }

    proptest! {
        #[test]
        fn exactly_k_belong(values in prop::collection::vec(prop_oneof![any::<f32>(), Just(1.0), Just(-1.0)], 1..7000), share in 0.0f64..1.1) {
            let k = (values.len() as f64 * share) as usize;
            check(&values, k);
        }
    }
}
