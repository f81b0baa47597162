//! Task arithmetic with sparse task vectors: θ = θ₀ + λ·(what becomes of the δ̂ₜ), δ̂ₜ being δₜ = θₜ − θ₀ with elements dropped.
//!
//! Shared by ties, dare, della and breadcrumbs, which differ in what they drop ([`Sparsify`]) and in whether the models
//! vote on a sign ([`Vote`]). Differences in `f32`, sums in `f64`, one rounding at the end.

use std::ops::Range;

use super::{Chunk, Measure, Measured, Rule, Settings, Statistics, Step, TensorPlace};
use crate::kernel::vectorised;

/// What is dropped of a task vector.
pub(super) trait Sparsify: Send + Sync {
    /// As [`Rule::unit`].
    fn unit(&self) -> usize {
        1
    }

    /// Passes of measuring.
    fn passes(&self) -> usize {
        0
    }

    /// As [`Rule::counts`].
    fn counts(&self) -> usize {
        0
    }

    /// As [`Rule::forget`].
    fn forget(&self) {}

    /// What is to be measured next; `None`: enough is known.
    fn next(&self, _found: &[Measured]) -> Option<Measure> {
        None
    }

    /// Counts elements of a model's task vector.
    fn count(&self, _model: usize, _start: usize, _delta: &[f32], _counts: &mut [u32]) {}

    /// As [`Rule::counted`].
    fn counted(&self, _range: Range<usize>, _counts: &[u32]) {}

    /// Sums up elements of a model's task vector.
    fn sum(&self, _model: usize, _start: usize, _delta: &[f32], _sums: &mut [f64]) {}

    /// Drops elements of a model's task vector (sets them to zero) and rescales the others. `start` is the first one's place
    /// in the tensor.
    fn apply(&self, found: &[Measured], model: usize, start: usize, delta: &mut [f32]);
}

/// How the models agree on a sign, element by element (TIES, Yadav et al. 2023, arXiv 2306.01708, §4): only task vectors of
/// that sign are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// sgn(Σ δ̂ₜ), as in the paper; weights enter only afterwards.
    Plain,
    /// sgn(Σ wₜδ̂ₜ), as in mergekit.
    Weighted,
}

impl Vote {
    /// The words for it in a document.
    pub(super) const WORDS: &'static [&'static str] = &["plain", "weighted"];

    pub(super) fn from_word(word: Option<&str>) -> Vote {
        if word == Some("weighted") {
            Vote::Weighted
        } else {
            Vote::Plain
        }
    }
}

/// The rule of a tensor.
pub(super) struct Sparse<S> {
    sparsify: S,
    /// Weight of each model.
    weights: Vec<f64>,
    /// Factor of the whole sum.
    lambda: f64,
    /// Divide by the weights that took part?
    normalize: bool,
    /// `None`: all take part.
    vote: Option<Vote>,
}

impl<S: Sparsify> Sparse<S> {
    /// The rule with a document's `weight`, `lambda`, `normalize` and, if the models elect a sign, `vote`.
    pub(super) fn new(
        sparsify: S,
        elects: bool,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Sparse<S>, String> {
        Ok(Sparse {
            sparsify,
            weights: settings.weights(tensor, statistics)?,
            lambda: settings.number("lambda")?,
            normalize: settings.flag("normalize")?,
            vote: elects.then(|| Vote::from_word(settings.word("vote"))),
        })
    }

    /// Task vectors of a chunk, one after the other.
    fn deltas(chunk: &Chunk<'_>) -> Vec<f32> {
        let mut deltas = Vec::with_capacity(chunk.models() * chunk.len);
        for model in 0..chunk.models() {
            let pairs = chunk.model(model).iter().zip(chunk.base());
            vectorised(
                #[inline(always)]
                || deltas.extend(pairs.map(|(x, base)| x - base)),
            );
        }
        deltas
    }
}

impl<S: Sparsify> Rule for Sparse<S> {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        Ok(self.sparsify.next(found).map_or(Step::Combine, Step::Measure))
    }

    fn unit(&self) -> usize {
        self.sparsify.unit()
    }

    fn passes(&self) -> usize {
        self.sparsify.passes() + 1
    }

    fn counts(&self) -> usize {
        self.sparsify.counts()
    }

    fn forget(&self) {
        self.sparsify.forget();
    }

    fn count(&self, _: &[Measured], chunk: &Chunk<'_>, counts: &mut [u32]) {
        for (model, delta) in Self::deltas(chunk).chunks_exact(chunk.len).enumerate() {
            self.sparsify.count(model, chunk.start, delta, counts);
        }
    }

    fn counted(&self, range: Range<usize>, counts: &[u32]) {
        self.sparsify.counted(range, counts);
    }

    fn sum(&self, _: &[Measured], chunk: &Chunk<'_>, sums: &mut [f64]) {
        for (model, delta) in Self::deltas(chunk).chunks_exact(chunk.len).enumerate() {
            self.sparsify.sum(model, chunk.start, delta, sums);
        }
    }

    fn combine(&self, found: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let mut deltas = Self::deltas(chunk);
        for (model, delta) in deltas.chunks_exact_mut(chunk.len).enumerate() {
            self.sparsify.apply(found, model, chunk.start, delta);
        }
        match self.vote {
            None => vectorised(
                #[inline(always)]
                || self.add_all(&deltas, chunk, out),
            ),
            Some(vote) => vectorised(
                #[inline(always)]
                || self.add_elected(vote, &deltas, chunk, out),
            ),
        }
    }
}

impl<S> Sparse<S> {
    /// θ₀ + λ Σ wₜδ̂ₜ (/ Σ wₜ).
    #[inline(always)]
    fn add_all(&self, deltas: &[f32], chunk: &Chunk<'_>, out: &mut [f64]) {
        let total: f64 = self.weights.iter().sum();
        let divisor = if self.normalize && total.abs() >= SMALLEST {
            total
        } else {
            1.0
        };
        let factor = self.lambda / divisor;
        for (out, base) in out.iter_mut().zip(chunk.base()) {
            *out = f64::from(*base);
        }
        for (delta, weight) in deltas.chunks_exact(chunk.len).zip(&self.weights) {
            let factor = factor * weight;
            for (out, delta) in out.iter_mut().zip(delta) {
                *out += factor * f64::from(*delta);
            }
        }
    }

    /// θ₀ + λ Σ wₜδ̂ₜ (/ Σ wₜ) over the models whose δ̂ₜ has the elected sign; a sum of zero elects the plus.
    #[inline(always)]
    fn add_elected(&self, vote: Vote, deltas: &[f32], chunk: &Chunk<'_>, out: &mut [f64]) {
        let models: Vec<(&[f32], f64)> = deltas
            .chunks_exact(chunk.len)
            .zip(self.weights.iter().copied())
            .collect();
        // In pieces whose sums stay in the registers and the nearest cache.
        for start in (0..chunk.len).step_by(PIECE) {
            let range = start..(start + PIECE).min(chunk.len);
            let (mut votes, mut sums, mut shares) = ([0.0f64; PIECE], [0.0f64; PIECE], [0.0f64; PIECE]);
            for (delta, weight) in &models {
                let weight = if vote == Vote::Weighted { *weight } else { 1.0 };
                for (votes, delta) in votes.iter_mut().zip(&delta[range.clone()]) {
                    *votes += weight * f64::from(*delta);
                }
            }
            // +1 or −1 where the models elected plus or minus.
            for votes in &mut votes {
                *votes = if *votes >= 0.0 { 1.0 } else { -1.0 };
            }
            for (delta, weight) in &models {
                // A value of its own: what lies behind a reference is only read where it is needed, by a branch for each element.
                let weight = *weight;
                // In mergekit the sign is that of wₜδ̂ₜ.
                let is_turned = vote == Vote::Weighted && weight < 0.0;
                let turn = if is_turned { -1.0 } else { 1.0 };
                let delta = &delta[range.clone()];
                for (((sum, share), sign), delta) in sums.iter_mut().zip(&mut shares).zip(&votes).zip(delta) {
                    let delta = f64::from(*delta);
                    let part = if turn * sign * delta > 0.0 { weight } else { 0.0 };
                    *sum += part * delta;
                    *share += part;
                }
            }
            let (out, base) = (&mut out[range.clone()], &chunk.base()[range]);
            for (((out, base), sum), share) in out.iter_mut().zip(base).zip(&sums).zip(&shares) {
                let divides = self.normalize & (share.abs() >= SMALLEST);
                let divisor = if divides { *share } else { 1.0 };
                *out = f64::from(*base) + self.lambda * sum / divisor;
            }
        }
    }
}

/// Elements whose votes are counted together.
const PIECE: usize = 256;
/// Weights that sum to less are not divided by.
const SMALLEST: f64 = 1e-8;
