//! Inner products of task vectors: G[t][u] = Σᵢ (xₜᵢ − bᵢ)(xᵤᵢ − bᵢ), differences in `f32`, sums in `f64`.
//!
//! Element `i` of a run always goes to partial sum `i mod 32`, and the partial sums are folded pairwise at the end, so
//! the bits depend on the values alone. The run must start at a fixed place of its tensor: see
//! [`crate::engine::RUN`].

use super::{CHUNK, fuses, vectorised};
use crate::statistics::Gram;

/// Partial sums of one inner product: four AVX-512 registers, enough to hide the latency of an addition.
const LANES: usize = 32;

/// The Gram matrix of one run of elements, built chunk by chunk.
pub(crate) struct GramSum {
    models: usize,
    /// One array for every pair (t, u ≤ t), packed by rows.
    lanes: Vec<[f64; LANES]>,
    /// Task vectors of the current chunk, padded with zeros to a multiple of [`LANES`].
    differences: Vec<[f32; CHUNK]>,
}

impl GramSum {
    pub(crate) fn new(models: usize) -> GramSum {
        GramSum {
            models,
            lanes: vec![[0.0; LANES]; models * (models + 1) / 2],
            differences: vec![[0.0; CHUNK]; models],
        }
    }

    /// Sets the task vector of `model` for the current chunk; all models of a chunk have the same length, at most
    /// [`CHUNK`], and only the last chunk of a run may be shorter than that.
    pub(crate) fn set_difference(&mut self, model: usize, x: &[f32], base: &[f32]) {
        let difference = &mut self.differences[model];
        let len = x.len().min(base.len()).min(CHUNK);
        vectorised(
            #[inline(always)]
            || {
                for ((difference, x), base) in difference.iter_mut().zip(x).zip(base) {
                    *difference = x - base;
                }
            },
        );
        difference[len..].fill(0.0);
    }

    /// As [`Self::set_difference`], of a vector as it is.
    pub(crate) fn set(&mut self, model: usize, x: &[f32]) {
        let vector = &mut self.differences[model];
        let len = x.len().min(CHUNK);
        vector[..len].copy_from_slice(&x[..len]);
        vector[len..].fill(0.0);
    }

    /// Number of vectors.
    pub(crate) fn models(&self) -> usize {
        self.models
    }

    /// Adds the products of the current chunk, which has `len` elements.
    pub(crate) fn add(&mut self, len: usize) {
        let padded = len.next_multiple_of(LANES).min(CHUNK);
        let (models, differences, lanes) = (self.models, &self.differences, &mut self.lanes);
        let mut pair = 0;
        for t in 0..models {
            for u in 0..=t {
                let (left, right) = (&differences[t][..padded], &differences[u][..padded]);
                if fuses() {
                    vectorised(
                        #[inline(always)]
                        || add_products::<true>(left, right, &mut lanes[pair]),
                    );
                } else {
                    vectorised(
                        #[inline(always)]
                        || add_products::<false>(left, right, &mut lanes[pair]),
                    );
                }
                pair += 1;
            }
        }
    }

    /// The sums of the run; leaves an empty run.
    pub(crate) fn finish(&mut self) -> Gram {
        let sums = self.lanes.iter_mut().map(|lanes| {
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
                width /= 2;
            }
            std::mem::replace(lanes, [0.0; LANES])[0]
        });
        Gram::from_packed(self.models, sums.collect())
    }
}

/// Adds left[i]·right[i] to partial sum i mod [`LANES`]. The products are exact, so fusing them with the addition
/// changes speed but not one bit.
#[inline(always)]
fn add_products<const FUSED: bool>(left: &[f32], right: &[f32], sums: &mut [f64; LANES]) {
    let mut held = *sums;
    for (left, right) in left
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(right.as_chunks::<LANES>().0)
    {
        for lane in 0..LANES {
            held[lane] = if FUSED {
                f64::from(left[lane]).mul_add(f64::from(right[lane]), held[lane])
            } else {
                f64::from(left[lane]) * f64::from(right[lane]) + held[lane]
            };
        }
    }
    *sums = held;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gram(base: &[f32], models: &[&[f32]]) -> Gram {
        let mut sum = GramSum::new(models.len());
        for start in (0..base.len()).step_by(CHUNK) {
            let end = (start + CHUNK).min(base.len());
            for (t, model) in models.iter().enumerate() {
                sum.set_difference(t, &model[start..end], &base[start..end]);
            }
            sum.add(end - start);
        }
        sum.finish()
    }

    #[test]
    fn matches_plain_sums() {
        for len in [1, 31, 32, 33, 1023, 1024, 1025, 5000] {
            let base: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
            let a: Vec<f32> = base
                .iter()
                .enumerate()
                .map(|(i, x)| x + (i as f32).cos() * 0.01)
                .collect();
            let b: Vec<f32> = base
                .iter()
                .enumerate()
                .map(|(i, x)| x - (i as f32 * 1.3).cos() * 0.02)
                .collect();
            let found = gram(&base, &[&a, &b]);
            let dot = |x: &[f32], y: &[f32]| -> f64 {
                (0..len)
                    .map(|i| f64::from(x[i] - base[i]) * f64::from(y[i] - base[i]))
                    .sum()
            };
            for (t, u, expected) in [
                (0, 0, dot(&a, &a)),
                (1, 0, dot(&b, &a)),
                (0, 1, dot(&a, &b)),
                (1, 1, dot(&b, &b)),
            ] {
                assert!(
                    (found.get(t, u) - expected).abs() <= 1e-13 * dot(&a, &a).max(dot(&b, &b)),
                    "{len} {t} {u}"
                );
            }
        }
    }

    #[test]
    fn a_finished_sum_starts_anew() {
        let mut sum = GramSum::new(1);
        for _ in 0..2 {
            sum.set_difference(0, &[3.0, 1.0], &[1.0, 1.0]);
            sum.add(2);
            assert_eq!(sum.finish().get(0, 0), 4.0);
        }
    }
}
