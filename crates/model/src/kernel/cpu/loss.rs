//! The language-model head and the negative log-likelihood in one: logits exist only for a block of
//! tokens at a time.
//!
//! `nll_t = logsumexp_v(h_t·w_v) − h_t·w_{target(t)}`. A target below 0 is not scored: it costs no
//! product and contributes 0.

use rayon::prelude::*;

use super::matrix::{Threads, View, multiply};
use super::simd::{exp, max, sum, vectorised};

/// Logits held at a time, in elements (64 MiB).
const LOGITS: usize = 1 << 24;

fn block(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).clamp(16, 1024)
}

/// Indices and rows of the scored tokens, gathered so that the products skip the others.
fn gather(hidden: &[f32], targets: &[i64], width: usize) -> (Vec<usize>, Vec<f32>) {
    let scored: Vec<usize> = (0..targets.len()).filter(|&token| targets[token] >= 0).collect();
    let mut rows = vec![0.0f32; scored.len() * width];
    rows.par_chunks_mut(width).zip(&scored).for_each(|(row, &token)| {
        row.copy_from_slice(&hidden[token * width..][..width]);
    });
    (scored, rows)
}

/// Gives `visit` the logits of the scored tokens, block by block in order: the tokens' numbers and a row of `[vocabulary]`
/// for each, which it may overwrite. `hidden` `[tokens, width]`, `head` `[vocabulary, width]`.
pub fn each_block(
    hidden: &[f32],
    head: &[f32],
    targets: &[i64],
    width: usize,
    visit: &mut dyn FnMut(&[usize], &mut [f32]),
) {
    let vocabulary = head.len() / width;
    let (scored, rows) = gather(hidden, targets, width);
    let block = block(vocabulary);
    let mut logits = vec![0.0f32; block.min(scored.len()) * vocabulary];
    for (tokens, rows) in scored.chunks(block).zip(rows.chunks(block * width)) {
        let logits = &mut logits[..tokens.len() * vocabulary];
        let weights = View::new(head, vocabulary, width).transposed();
        multiply(
            logits,
            vocabulary,
            View::new(rows, tokens.len(), width),
            weights,
            1.0,
            false,
            Threads::All,
        );
        visit(tokens, logits);
    }
}

/// Negative log-likelihood of every token: `hidden` `[tokens, width]`, `head` `[vocabulary, width]`,
/// result `[tokens]` in nats, 0 where the target is below 0.
pub fn forward(hidden: &[f32], head: &[f32], targets: &[i64], width: usize) -> Vec<f32> {
    let vocabulary = head.len() / width;
    let mut nll = vec![0.0f32; targets.len()];
    each_block(hidden, head, targets, width, &mut |tokens, logits| {
        let values: Vec<f32> = logits
            .par_chunks_mut(vocabulary)
            .zip(tokens)
            .map(|(logits, &token)| {
                vectorised(
                    #[inline(always)]
                    || {
                        let target = logits[targets[token] as usize];
                        let peak = max(logits);
                        logits.iter_mut().for_each(|logit| *logit = exp(*logit - peak));
                        peak + sum(logits).ln() - target
                    },
                )
            })
            .collect();
        for (&token, value) in tokens.iter().zip(values) {
            nll[token] = value;
        }
    });
    nll
}

/// The sum of the negative log-likelihoods with its gradients.
#[derive(Debug)]
pub struct LossGradients {
    /// Σ nll over the scored tokens, in nats.
    pub sum: f64,
    /// ∂sum/∂hidden, `[tokens, width]`.
    pub dhidden: Vec<f32>,
    /// ∂sum/∂head, `[vocabulary, width]`.
    pub dhead: Vec<f32>,
}

/// [`forward`]'s sum and its gradients in the same pass, `∂logits = softmax − onehot`: the sum is a
/// scalar, so its gradients only wait to be scaled, and the logits need not be computed again.
pub fn forward_with_gradients(hidden: &[f32], head: &[f32], targets: &[i64], width: usize) -> LossGradients {
    let vocabulary = head.len() / width;
    let (scored, rows) = gather(hidden, targets, width);
    let mut dhidden = vec![0.0f32; hidden.len()];
    let mut dhead = vec![0.0f32; head.len()];
    let mut total = 0.0f64;
    let block = block(vocabulary);
    let mut logits = vec![0.0f32; block.min(scored.len()) * vocabulary];
    let mut drows = vec![0.0f32; block.min(scored.len()) * width];
    for (tokens, rows) in scored.chunks(block).zip(rows.chunks(block * width)) {
        let count = tokens.len();
        let logits = &mut logits[..count * vocabulary];
        let weights = View::new(head, vocabulary, width);
        let rows = View::new(rows, count, width);
        multiply(
            logits,
            vocabulary,
            rows,
            weights.transposed(),
            1.0,
            false,
            Threads::All,
        );
        let values: Vec<f32> = logits
            .par_chunks_mut(vocabulary)
            .zip(tokens)
            .map(|(logits, &token)| {
                vectorised(
                    #[inline(always)]
                    || {
                        let target = targets[token] as usize;
                        let chosen = logits[target];
                        let peak = max(logits);
                        logits.iter_mut().for_each(|logit| *logit = exp(*logit - peak));
                        let total = sum(logits);
                        let inverse = 1.0 / total;
                        logits.iter_mut().for_each(|logit| *logit *= inverse);
                        logits[target] -= 1.0;
                        peak + total.ln() - chosen
                    },
                )
            })
            .collect();
        total += values.iter().map(|value| f64::from(*value)).sum::<f64>();
        let slopes = View::new(logits, count, vocabulary);
        let drows = &mut drows[..count * width];
        multiply(drows, width, slopes, weights, 1.0, false, Threads::All);
        multiply(
            &mut dhead,
            width,
            slopes.transposed(),
            rows,
            1.0,
            true,
            Threads::All,
        );
        for (&token, drow) in tokens.iter().zip(drows.chunks(width)) {
            dhidden[token * width..][..width].copy_from_slice(drow);
        }
    }
    LossGradients {
        sum: total,
        dhidden,
        dhead,
    }
}
