//! Weighted sums of tensors: mixtures of models.

use rayon::prelude::*;

use super::simd::vectorised;

/// Elements of one task.
const BLOCK: usize = 1 << 14;
/// Elements whose sums stay in the nearest cache.
const PIECE: usize = 512;

/// `out = Σ wᵢ·xᵢ`, element by element; summed in `f64` in the order of the terms and rounded once.
pub fn weighted_sum(out: &mut [f32], terms: &[(&[f32], f64)]) {
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
        vectorised(
            #[inline(always)]
            || {
                for (piece, out) in out.chunks_mut(PIECE).enumerate() {
                    let start = block * BLOCK + piece * PIECE;
                    let mut sums = [0.0f64; PIECE];
                    for (values, weight) in terms {
                        let weight = *weight;
                        for (sum, x) in sums.iter_mut().zip(&values[start..start + out.len()]) {
                            *sum += weight * f64::from(*x);
                        }
                    }
                    for (out, sum) in out.iter_mut().zip(&sums) {
                        *out = *sum as f32;
                    }
                }
            },
        );
    });
}
