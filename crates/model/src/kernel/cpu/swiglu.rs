//! The gated activation of the Llama family: `y = silu(g) ⊙ u`, `silu(g) = g·σ(g)` (Shazeer 2020).

use rayon::prelude::*;

use super::simd::{exp, vectorised};

/// Elements of one task.
const BLOCK: usize = 1 << 14;

/// `y = silu(gate) ⊙ up`, element by element.
pub fn forward(y: &mut [f32], gate: &[f32], up: &[f32]) {
    y.par_chunks_mut(BLOCK)
        .zip(gate.par_chunks(BLOCK))
        .zip(up.par_chunks(BLOCK))
        .for_each(|((y, gate), up)| {
            vectorised(
                #[inline(always)]
                || {
                    for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
                        *y = g / (1.0 + exp(-g)) * u;
                    }
                },
            );
        });
}

/// `∂gate = ∂y ⊙ u ⊙ σ(g)(1 + g(1 − σ(g)))` and `∂up = ∂y ⊙ silu(g)`.
pub fn backward(dgate: &mut [f32], dup: &mut [f32], dy: &[f32], gate: &[f32], up: &[f32]) {
    dgate
        .par_chunks_mut(BLOCK)
        .zip(dup.par_chunks_mut(BLOCK))
        .zip(dy.par_chunks(BLOCK))
        .zip(gate.par_chunks(BLOCK))
        .zip(up.par_chunks(BLOCK))
        .for_each(|((((dgate, dup), dy), gate), up)| {
            vectorised(
                #[inline(always)]
                || {
                    for ((dgate, dup), ((&dy, &g), &u)) in
                        dgate.iter_mut().zip(dup).zip(dy.iter().zip(gate).zip(up))
                    {
                        let sigmoid = 1.0 / (1.0 + exp(-g));
                        *dup = dy * g * sigmoid;
                        *dgate = dy * u * sigmoid * g.mul_add(1.0 - sigmoid, 1.0);
                    }
                },
            );
        });
}
