//! Root-mean-square normalisation (Zhang & Sennrich 2019): `y = w ⊙ x / √(mean(x²) + ε)`.

use rayon::prelude::*;

use super::simd::{add_scaled, dot, vectorised};

/// Rows handled by one task; fixed, so that the weight gradient's partial sums are too.
const ROWS: usize = 32;

/// Normalises each of the rows of `x` (`[rows, width]`) into `y`; `inverse[row]` receives
/// `1/√(mean(x²) + ε)`, which the backward pass reads.
pub fn forward(y: &mut [f32], inverse: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
    let width = weight.len();
    y.par_chunks_mut(ROWS * width)
        .zip(inverse.par_chunks_mut(ROWS))
        .zip(x.par_chunks(ROWS * width))
        .for_each(|((y, inverse), x)| {
            vectorised(
                #[inline(always)]
                || {
                    for ((y, inverse), x) in y.chunks_mut(width).zip(inverse).zip(x.chunks(width)) {
                        let scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
                        *inverse = scale;
                        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                            *y = x * scale * w;
                        }
                    }
                },
            );
        });
}

/// Gradients of [`forward`]: with `r` the saved inverse and `n` the width,
/// `∂x = r·(w ⊙ ∂y) − x·r³/n·Σ(w ⊙ ∂y ⊙ x)` and `∂w = Σ_rows ∂y ⊙ x·r`.
pub fn backward(dx: &mut [f32], dweight: &mut [f32], dy: &[f32], x: &[f32], weight: &[f32], inverse: &[f32]) {
    let width = weight.len();
    let partials: Vec<Vec<f32>> = dx
        .par_chunks_mut(ROWS * width)
        .zip(dy.par_chunks(ROWS * width))
        .zip(x.par_chunks(ROWS * width))
        .zip(inverse.par_chunks(ROWS))
        .map(|(((dx, dy), x), inverse)| {
            vectorised(
                #[inline(always)]
                || {
                    let mut partial = vec![0.0f32; width];
                    let rows = dx
                        .chunks_mut(width)
                        .zip(dy.chunks(width))
                        .zip(x.chunks(width))
                        .zip(inverse);
                    for (((dx, dy), x), &r) in rows {
                        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
                            *dx = dy * w;
                        }
                        let pull = dot(dx, x) * r * r * r / width as f32;
                        for ((dx, x), (dy, partial)) in dx.iter_mut().zip(x).zip(dy.iter().zip(&mut partial))
                        {
                            *partial = (dy * r).mul_add(*x, *partial);
                            *dx = *dx * r - x * pull;
                        }
                    }
                    partial
                },
            )
        })
        .collect();
    dweight.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            partials
                .iter()
                .for_each(|partial| add_scaled(dweight, 1.0, partial))
        },
    );
}

/// The cosine between each row of `a` and the same row of `b`; NaN where one of them is zero.
pub fn row_cosines(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let rows = a.par_chunks(width).zip(b.par_chunks(width));
    rows.map(|(a, b)| {
        vectorised(
            #[inline(always)]
            || (f64::from(dot(a, b)) / (f64::from(dot(a, a)).sqrt() * f64::from(dot(b, b)).sqrt())) as f32,
        )
    })
    .collect()
}
