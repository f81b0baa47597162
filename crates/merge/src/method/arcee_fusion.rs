//! Arcee Fusion: only what matters of the other model goes into the base.
//!
//! The importance of an element is |δ|·KL(softmax(θ₁ row) ‖ softmax(θ₀ row)), δ = θ₁ − θ₀, rows being the last dimension. Elements
//! with an importance of at least median + 1.5·(q₃ − q₁), the quartiles being those of the whole tensor (the element of rank ⌊q(n−1)⌋), are taken: θ = θ₀ + m⊙δ.
//!
//! Deviation of mergekit (not imitated): in tensors of more than a million elements its quartiles are those of a random sample.

use std::sync::OnceLock;

use super::ranks::{Cut, Ranks};
use super::{BaseUse, Chunk, Measured, Method, Parameter, Rule, Settings, Statistics, Step, TensorPlace};

pub(crate) struct ArceeFusion;

impl Method for ArceeFusion {
    fn name(&self) -> &'static str {
        "arcee_fusion"
    }

    fn formula(&self) -> &'static str {
        "θ = θ₀ + m⊙δ, m: |δ|·KL(softmax(θ₁ row) ‖ softmax(θ₀ row)) ≥ median + 1.5·(q₃ − q₁)"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        1..=1
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn rule(&self, tensor: &TensorPlace, _: &Settings<'_>, _: &Statistics) -> Result<Box<dyn Rule>, String> {
        let elements = tensor.elements();
        // Ranks go down from the largest.
        let cuts = QUANTILES.iter().map(|quantile| Cut {
            vector: 0,
            k: elements - (quantile * elements.saturating_sub(1) as f64) as usize,
        });
        Ok(Box::new(Fusion {
            row: tensor.row(),
            ranks: Ranks::of_values(1, elements, cuts.collect()),
            threshold: OnceLock::new(),
        }))
    }
}

const QUANTILES: [f64; 3] = [0.25, 0.5, 0.75];

struct Fusion {
    row: usize,
    ranks: Ranks,
    threshold: OnceLock<f64>,
}

impl Fusion {
    /// Importance of every element.
    fn importances(&self, chunk: &Chunk<'_>) -> Vec<f32> {
        let mut importances = Vec::with_capacity(chunk.len);
        for range in chunk.units(self.row) {
            let (base, other) = (&chunk.base()[range.clone()], &chunk.model(0)[range]);
            let divergence = divergence(other, base);
            let importance = |(x, base): (&f32, &f32)| (f64::from((x - base).abs()) * divergence) as f32;
            importances.extend(other.iter().zip(base).map(importance));
        }
        importances
    }
}

/// KL(softmax(p) ‖ softmax(q)) in nats, at least 0.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p_total, q_total) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - p_total, f64::from(*q) - q_total);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

fn log_sum_exp(values: &[f32]) -> f64 {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    largest
        + values
            .iter()
            .map(|value| (f64::from(*value) - largest).exp())
            .sum::<f64>()
            .ln()
}

impl Rule for Fusion {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        if let Some(measure) = self.ranks.next(found) {
            return Ok(Step::Measure(measure));
        }
        let [first, median, third] = [0, 1, 2].map(|cut| f64::from(self.ranks.value(cut)));
        let _ = self.threshold.set(median + 1.5 * (third - first));
        Ok(Step::Combine)
    }

    fn unit(&self) -> usize {
        self.row
    }

    fn passes(&self) -> usize {
        self.ranks.passes() + 1
    }

    fn counts(&self) -> usize {
        self.ranks.counts()
    }

    fn count(&self, _: &[Measured], chunk: &Chunk<'_>, counts: &mut [u32]) {
        let importances = self.importances(chunk);
        self.ranks.count(0, chunk.start, &importances, counts);
    }

    fn combine(&self, _: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let threshold = self.threshold.get().copied().unwrap_or(f64::INFINITY);
        let importances = self.importances(chunk);
        let taken = chunk.model(0).iter().zip(chunk.base()).zip(&importances);
        for (out, ((x, base), importance)) in out.iter_mut().zip(taken) {
            *out = f64::from(if f64::from(*importance) >= threshold {
                *x
            } else {
                *base
            });
        }
    }
}
