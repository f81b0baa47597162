//! Causal grouped-query attention with rotary positions over packed documents.
//!
//! `o = softmax(R(q)·R(k)ᵀ/√d)·v`, `R` the rotary embedding (Su et al. 2021, half-rotation layout of
//! Hugging Face), a query seeing the keys from the first token of its own document up to itself. The
//! scores of a block of queries live in one buffer that fits the second-level cache; nothing of size
//! length² is ever stored, and the backward pass recomputes the scores from the saved log-sum-exp.

use std::sync::Arc;

use rayon::prelude::*;

use super::super::composed::Tables;
use super::matrix::{Threads, View, multiply};
use super::simd::{add_scaled, dot, exp, max, sum, vectorised};

/// Who sees whom, and where each token stands. Shapes: `rows` sequences of `len` query tokens each.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// Sequences.
    pub rows: usize,
    /// Query tokens of a row.
    pub len: usize,
    /// Key tokens of a row: `len`, or more when keys of earlier tokens are cached.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// `[rows·len]`: index within its row of the first key that the query sees.
    pub first: Vec<u32>,
    /// `[rows·len]`: position of each query token inside its document, an index into `rotation`.
    pub positions: Vec<u32>,
    /// cos and sin of every position.
    pub rotation: Arc<Rotation>,
    /// Factor on the scores, 1/√d.
    pub scale: f32,
    /// The same on a device that has no kernel of ours; empty until asked for.
    pub tables: Tables,
}

/// cos and sin tables `[positions, head_dim/2]`.
#[derive(Debug, Default)]
pub struct Rotation {
    /// cos(position·frequency).
    pub cos: Vec<f32>,
    /// sin(position·frequency).
    pub sin: Vec<f32>,
}

/// Elements of a block's score buffer: 1 MiB of `f32`, the size of a second-level cache.
const SCORES: usize = 1 << 18;

impl Geometry {
    /// Queries of one block.
    fn block(&self) -> usize {
        (SCORES / self.keys.max(1)).clamp(16, 64)
    }

    /// Keys cached before the first query of a row.
    fn past(&self) -> usize {
        self.keys - self.len
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The span of keys `[low, high)` that queries `start..end` of `row` reach together.
    fn span(&self, row: usize, start: usize, end: usize) -> (usize, usize) {
        let first = &self.first[row * self.len..][start..end];
        (
            first.iter().copied().min().unwrap_or(0) as usize,
            self.past() + end,
        )
    }
}

/// Rotates every head of every token: `x` is `[tokens, heads·head_dim]`; `inverse` turns back.
pub fn rotate(x: &mut [f32], heads: usize, geometry: &Geometry, inverse: bool) {
    let half = geometry.head_dim / 2;
    let width = heads * geometry.head_dim;
    let sign = if inverse { -1.0f32 } else { 1.0 };
    x.par_chunks_mut(width)
        .zip(&geometry.positions)
        .for_each(|(token, &position)| {
            vectorised(
                #[inline(always)]
                || {
                    let at = position as usize * half;
                    let (cos, sin) = (
                        &geometry.rotation.cos[at..at + half],
                        &geometry.rotation.sin[at..at + half],
                    );
                    for head in token.chunks_exact_mut(2 * half) {
                        let (low, high) = head.split_at_mut(half);
                        for ((a, b), (c, s)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
                            let (x, y, s) = (*a, *b, s * sign);
                            *a = x * c - y * s;
                            *b = y * c + x * s;
                        }
                    }
                },
            );
        });
}

/// Softmax in place over the visible keys of each query of a block; other scores become 0.
///
/// Returns nothing but fills `lse` (one value a query) with log Σ exp of the visible scores.
fn softmax(
    scores: &mut [f32],
    span: usize,
    low: usize,
    visible: impl Fn(usize) -> (usize, usize),
    lse: &mut [f32],
) {
    vectorised(
        #[inline(always)]
        || {
            for (query, (row, lse)) in scores.chunks_mut(span).zip(lse).enumerate() {
                let (first, end) = visible(query);
                let (first, end) = (first - low, end - low);
                row[..first].fill(0.0);
                row[end..].fill(0.0);
                let row = &mut row[first..end];
                let peak = max(row);
                for score in row.iter_mut() {
                    *score = exp(*score - peak);
                }
                let total = sum(row);
                let inverse = 1.0 / total;
                for score in row.iter_mut() {
                    *score *= inverse;
                }
                *lse = peak + total.ln();
            }
        },
    );
}

/// Attention of rotated queries `q` (`[rows·len, heads·d]`) over rotated keys `k` and values `v`
/// (`[rows·keys, kv_heads·d]`) into `out` (as `q`); `lse` (`[rows·len, heads]`) is what
/// [`backward`] needs.
pub fn forward(out: &mut [f32], lse: &mut [f32], q: &[f32], k: &[f32], v: &[f32], geometry: &Geometry) {
    if geometry.len <= 4 {
        return forward_few(out, lse, q, k, v, geometry);
    }
    let (width, block) = (geometry.width(), geometry.block());
    let rows = out
        .par_chunks_mut(geometry.len * width)
        .zip(lse.par_chunks_mut(geometry.len * geometry.heads));
    rows.enumerate().for_each(|(row, (out, lse))| {
        let blocks = out
            .par_chunks_mut(block * width)
            .zip(lse.par_chunks_mut(block * geometry.heads));
        blocks.enumerate().for_each(|(index, (out, lse))| {
            forward_block(out, lse, q, k, v, geometry, row, index * block);
        });
    });
}

#[expect(clippy::too_many_arguments)]
fn forward_block(
    out: &mut [f32],
    lse: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    geometry: &Geometry,
    row: usize,
    start: usize,
) {
    let (d, width, kv_width) = (geometry.head_dim, geometry.width(), geometry.kv_width());
    let count = out.len() / width;
    let (low, high) = geometry.span(row, start, start + count);
    let span = high - low;
    let first = &geometry.first[row * geometry.len + start..][..count];
    let mut scores = vec![0.0f32; count * span];
    let mut column = vec![0.0f32; count];
    for head in 0..geometry.heads {
        let kv = head / (geometry.heads / geometry.kv_heads);
        let queries = View::strided(
            &q[(row * geometry.len + start) * width + head * d..],
            count,
            d,
            width,
        );
        let at = (row * geometry.keys + low) * kv_width + kv * d;
        let keys = View::strided(&k[at..], span, d, kv_width);
        let values = View::strided(&v[at..], span, d, kv_width);
        multiply(
            &mut scores,
            span,
            queries,
            keys.transposed(),
            geometry.scale,
            false,
            Threads::One,
        );
        let visible = |query: usize| (first[query] as usize, geometry.past() + start + query + 1);
        softmax(&mut scores, span, low, visible, &mut column);
        for (query, value) in column.iter().enumerate() {
            lse[query * geometry.heads + head] = *value;
        }
        let probabilities = View::new(&scores, count, span);
        multiply(
            &mut out[head * d..],
            width,
            probabilities,
            values,
            1.0,
            false,
            Threads::One,
        );
    }
}

/// [`forward`] for a few queries, as when generating: dot products, one task a head.
fn forward_few(out: &mut [f32], lse: &mut [f32], q: &[f32], k: &[f32], v: &[f32], geometry: &Geometry) {
    let (d, kv_width) = (geometry.head_dim, geometry.kv_width());
    let (len, heads) = (geometry.len, geometry.heads);
    out.par_chunks_mut(d)
        .zip(lse.par_iter_mut())
        .enumerate()
        .for_each(|(index, (out, lse))| {
            let (token, head) = (index / heads, index % heads);
            let (row, query) = (token / len, token % len);
            let kv = head / (heads / geometry.kv_heads);
            let low = geometry.first[token] as usize;
            let high = geometry.past() + query + 1;
            let at = |key: usize| (row * geometry.keys + key) * kv_width + kv * d;
            vectorised(
                #[inline(always)]
                || {
                    let q = &q[token * heads * d + head * d..][..d];
                    let mut scores: Vec<f32> = (low..high)
                        .map(|key| dot(q, &k[at(key)..][..d]) * geometry.scale)
                        .collect();
                    let span = scores.len();
                    softmax(&mut scores, span, low, |_| (low, high), std::slice::from_mut(lse));
                    out.fill(0.0);
                    for (score, key) in scores.iter().zip(low..high) {
                        add_scaled(out, *score, &v[at(key)..][..d]);
                    }
                },
            );
        });
}

/// Gradients of one key-value head of one row, head-major.
struct HeadGradients {
    /// `[heads of the group, len, d]`.
    dq: Vec<f32>,
    /// `[len, d]`.
    dk: Vec<f32>,
    /// `[len, d]`.
    dv: Vec<f32>,
}

/// What the backward pass reads: the rotated inputs, the output and the log-sum-exp of [`forward`].
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// Rotated queries.
    pub q: &'a [f32],
    /// Rotated keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// The output.
    pub out: &'a [f32],
    /// Log-sum-exp of the scores.
    pub lse: &'a [f32],
}

/// Gradients of [`forward`] with respect to the *rotated* queries and keys, and the values
/// (Dao et al. 2022, algorithm 4): `δ = Σ ∂o ⊙ o`, `∂s = p ⊙ (∂o·vᵀ − δ)`.
pub fn backward(
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    dout: &[f32],
    saved: Saved<'_>,
    geometry: &Geometry,
) {
    assert_eq!(geometry.past(), 0, "attention over cached keys has no gradient");
    let (d, len) = (geometry.head_dim, geometry.len);
    let group = geometry.heads / geometry.kv_heads;
    let tasks: Vec<HeadGradients> = (0..geometry.rows * geometry.kv_heads)
        .into_par_iter()
        .map(|task| {
            backward_head(
                dout,
                saved,
                geometry,
                task / geometry.kv_heads,
                task % geometry.kv_heads,
            )
        })
        .collect();
    dq.par_chunks_mut(geometry.width())
        .enumerate()
        .for_each(|(token, dq)| {
            let (row, query) = (token / len, token % len);
            for (head, dq) in dq.chunks_mut(d).enumerate() {
                let gradients = &tasks[row * geometry.kv_heads + head / group];
                dq.copy_from_slice(&gradients.dq[((head % group) * len + query) * d..][..d]);
            }
        });
    let tokens = dk
        .par_chunks_mut(geometry.kv_width())
        .zip(dv.par_chunks_mut(geometry.kv_width()));
    tokens.enumerate().for_each(|(token, (dk, dv))| {
        let (row, key) = (token / len, token % len);
        for (head, (dk, dv)) in dk.chunks_mut(d).zip(dv.chunks_mut(d)).enumerate() {
            let gradients = &tasks[row * geometry.kv_heads + head];
            dk.copy_from_slice(&gradients.dk[key * d..][..d]);
            dv.copy_from_slice(&gradients.dv[key * d..][..d]);
        }
    });
}

fn backward_head(
    dout: &[f32],
    saved: Saved<'_>,
    geometry: &Geometry,
    row: usize,
    kv: usize,
) -> HeadGradients {
    let (d, len, width, kv_width) = (
        geometry.head_dim,
        geometry.len,
        geometry.width(),
        geometry.kv_width(),
    );
    let group = geometry.heads / geometry.kv_heads;
    let block = geometry.block();
    let mut dq = vec![0.0f32; group * len * d];
    let (mut dk, mut dv) = (vec![0.0f32; len * d], vec![0.0f32; len * d]);
    for member in 0..group {
        let head = kv * group + member;
        for start in (0..len).step_by(block) {
            let count = block.min(len - start);
            let (low, high) = geometry.span(row, start, start + count);
            let span = high - low;
            let token = row * len + start;
            let at = token * width + head * d;
            let key_at = (row * len + low) * kv_width + kv * d;
            let queries = View::strided(&saved.q[at..], count, d, width);
            let gradients = View::strided(&dout[at..], count, d, width);
            let keys = View::strided(&saved.k[key_at..], span, d, kv_width);
            let values = View::strided(&saved.v[key_at..], span, d, kv_width);
            let mut scores = vec![0.0f32; count * span];
            let mut slopes = vec![0.0f32; count * span];
            multiply(
                &mut scores,
                span,
                queries,
                keys.transposed(),
                geometry.scale,
                false,
                Threads::One,
            );
            multiply(
                &mut slopes,
                span,
                gradients,
                values.transposed(),
                1.0,
                false,
                Threads::One,
            );
            vectorised(
                #[inline(always)]
                || {
                    for (query, (p, ds)) in scores.chunks_mut(span).zip(slopes.chunks_mut(span)).enumerate() {
                        let first = geometry.first[token + query] as usize - low;
                        let end = start + query + 1 - low;
                        let lse = saved.lse[(token + query) * geometry.heads + head];
                        let out_at = (token + query) * width + head * d;
                        let delta = dot(&dout[out_at..][..d], &saved.out[out_at..][..d]);
                        for outside in [&mut p[..], &mut ds[..]] {
                            outside[..first].fill(0.0);
                            outside[end..].fill(0.0);
                        }
                        for (p, ds) in p[first..end].iter_mut().zip(&mut ds[first..end]) {
                            *p = exp(*p - lse);
                            *ds = *p * (*ds - delta);
                        }
                    }
                },
            );
            let slopes = View::new(&slopes, count, span);
            let probabilities = View::new(&scores, count, span);
            let scale = geometry.scale;
            multiply(
                &mut dq[(member * len + start) * d..],
                d,
                slopes,
                keys,
                scale,
                false,
                Threads::One,
            );
            multiply(
                &mut dk[low * d..],
                d,
                slopes.transposed(),
                queries,
                scale,
                true,
                Threads::One,
            );
            multiply(
                &mut dv[low * d..],
                d,
                probabilities.transposed(),
                gradients,
                1.0,
                true,
                Threads::One,
            );
        }
    }
    HeadGradients { dq, dk, dv }
}
