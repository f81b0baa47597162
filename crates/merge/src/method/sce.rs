//! SCE (Wan et al. 2024, FuseChat, arXiv 2408.07990): select, calculate, erase.
//!
//! Of δₜ = θₜ − θ₀ the share `select_topk` of positions is kept where the models differ most (variance over the δₜ); each model's
//! weight in a tensor is its share of Σₜ mean(δₜ²); task vectors against the sign of Σ δₜ are erased:
//! θ = θ₀ + Σ wₜmₜδₜ / Σ wₜmₜ (§3.3).

use std::ops::Range;

use super::ranks::{Cut, Ranks};
use super::{
    BaseUse, Chunk, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    Step, TensorPlace,
};

pub(crate) struct Sce;

impl Method for Sce {
    fn name(&self) -> &'static str {
        "sce"
    }

    fn formula(&self) -> &'static str {
        "θ = θ₀ + Σ wₜmₜδₜ / Σ wₜmₜ, wₜ ∝ mean(δₜ²) in each tensor, mₜ: of the sign of Σ δₜ, where the δₜ vary most"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "select_topk",
            scope: Scope::Tensor,
            kind: Kind::Number,
            default: Some(Default::Number(1.0)),
            summary: "share of the positions that is kept, those of the largest variance",
        }]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let share = settings.tensor_number("select_topk", tensor)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("\"select_topk\" is {share}, not in 0..=1"));
        }
        let k = (share * tensor.elements() as f64) as usize;
        Ok(Box::new(Selected {
            models: settings.models(),
            ranks: Ranks::new(1, tensor.elements(), vec![Cut { vector: 0, k }]),
        }))
    }
}

struct Selected {
    models: usize,
    ranks: Ranks,
}

impl Selected {
    /// Task vectors of a chunk, zero where the models vary too little.
    fn deltas(&self, chunk: &Chunk<'_>) -> Vec<Vec<f32>> {
        let mut deltas = unselected(chunk);
        let variances = variances(&deltas, chunk.len);
        self.ranks.belongs(0, chunk.start, &variances, |at, belongs| {
            if !belongs {
                deltas.iter_mut().for_each(|delta| delta[at] = 0.0);
            }
        });
        deltas
    }
}

fn unselected(chunk: &Chunk<'_>) -> Vec<Vec<f32>> {
    let difference = |(x, base): (&f32, &f32)| x - base;
    (0..chunk.models())
        .map(|model| {
            chunk
                .model(model)
                .iter()
                .zip(chunk.base())
                .map(difference)
                .collect()
        })
        .collect()
}

/// Variance over the models, element by element.
fn variances(deltas: &[Vec<f32>], len: usize) -> Vec<f32> {
    let count = deltas.len() as f64;
    let variance = |at: usize| {
        let mean = deltas.iter().map(|delta| f64::from(delta[at])).sum::<f64>() / count;
        let squares = deltas.iter().map(|delta| (f64::from(delta[at]) - mean).powi(2));
        (squares.sum::<f64>() / count) as f32
    };
    (0..len).map(variance).collect()
}

impl Rule for Selected {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        // The sums come last, once the selection is known.
        if matches!(found.last(), Some(Measured::Sums(_))) {
            return Ok(Step::Combine);
        }
        Ok(Step::Measure(
            self.ranks.next(found).unwrap_or(Measure::Sums(self.models)),
        ))
    }

    fn passes(&self) -> usize {
        self.ranks.passes() + 2
    }

    fn counts(&self) -> usize {
        self.ranks.counts()
    }

    fn forget(&self) {
        self.ranks.forget();
    }

    fn count(&self, _: &[Measured], chunk: &Chunk<'_>, counts: &mut [u32]) {
        let variances = variances(&unselected(chunk), chunk.len);
        self.ranks.count(0, chunk.start, &variances, counts);
    }

    fn counted(&self, range: Range<usize>, counts: &[u32]) {
        self.ranks.counted(range, counts);
    }

    fn sum(&self, _: &[Measured], chunk: &Chunk<'_>, sums: &mut [f64]) {
        for (sum, delta) in sums.iter_mut().zip(self.deltas(chunk)) {
            *sum += delta.iter().map(|delta| f64::from(*delta).powi(2)).sum::<f64>();
        }
    }

    fn combine(&self, found: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let squares = match found.last() {
            Some(Measured::Sums(sums)) => sums.as_slice(),
            _ => &[],
        };
        let total: f64 = squares.iter().sum();
        let weights: Vec<f64> = squares
            .iter()
            .map(|square| {
                if total > 0.0 {
                    square / total
                } else {
                    1.0 / self.models as f64
                }
            })
            .collect();
        let deltas = self.deltas(chunk);
        for (at, (out, base)) in out.iter_mut().zip(chunk.base()).enumerate() {
            let votes: f64 = deltas.iter().map(|delta| f64::from(delta[at])).sum();
            let (mut sum, mut share) = (0.0, 0.0);
            for (delta, weight) in deltas.iter().zip(&weights) {
                let delta = f64::from(delta[at]);
                if (votes >= 0.0 && delta > 0.0) || (votes < 0.0 && delta < 0.0) {
                    sum += weight * delta;
                    share += weight;
                }
            }
            *out = f64::from(*base) + if share > 0.0 { sum / share } else { 0.0 };
        }
    }
}
