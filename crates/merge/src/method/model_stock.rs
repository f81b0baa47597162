//! Model Stock (Jang et al. 2024, arXiv 2403.19522): between the average and the base, by the angle of the fine-tunes.
//!
//! With c the mean cosine of the pairs (δᵢ, δⱼ), δₜ = θₜ − θ₀, and N models: t = N·c / (1 + (N−1)·c) and θ = t·mean(θₜ) + (1−t)·θ₀
//! (equation 4 for N = 2; the paper gives the ratio for N > 2 under equal angles, §4.2).

use super::measured_sum::MeasuredSum;
use super::{
    BaseUse, Chunk, Default, Kind, Measured, Method, Of, Parameter, Rule, Scope, Settings, Statistics, Step,
    TensorPlace,
};
use crate::statistics::Gram;

pub(crate) struct ModelStock;

impl Method for ModelStock {
    fn name(&self) -> &'static str {
        "model_stock"
    }

    fn formula(&self) -> &'static str {
        "θ = t·mean(θₜ) + (1−t)·θ₀, t = N·c / (1 + (N−1)·c), c the mean cosine of the θₜ − θ₀"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "filter_wise",
            scope: Scope::Merge,
            kind: Kind::Flag,
            default: Some(Default::Flag(false)),
            summary: "one angle a row (an output of the layer); else one a tensor",
        }]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        if settings.flag("filter_wise")? {
            return Ok(Box::new(ByRow { row: tensor.row() }));
        }
        Ok(Box::new(MeasuredSum {
            of: Of::TaskVectors,
            coefficients: |gram: &Gram| Ok(coefficients(gram)),
        }))
    }
}

/// Every row by its own angle.
struct ByRow {
    row: usize,
}

impl Rule for ByRow {
    fn next(&self, _: &[Measured]) -> Result<Step, String> {
        Ok(Step::Combine)
    }

    fn unit(&self) -> usize {
        self.row
    }

    fn combine(&self, _: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let models = chunk.models();
        for range in chunk.units(self.row) {
            let base = &chunk.base()[range.clone()];
            let product = |t: usize, u: usize| -> f64 {
                let pairs = chunk.model(t)[range.clone()]
                    .iter()
                    .zip(&chunk.model(u)[range.clone()]);
                pairs
                    .zip(base)
                    .map(|((t, u), base)| f64::from(t - base) * f64::from(u - base))
                    .sum()
            };
            let packed = (0..models).flat_map(|t| (0..=t).map(move |u| (t, u)));
            let gram = Gram::from_packed(models, packed.map(|(t, u)| product(t, u)).collect());
            let (of_base, of_models) = coefficients(&gram);
            for (at, out) in range.clone().zip(&mut out[range]) {
                let terms = of_models.iter().enumerate();
                let sum: f64 = terms
                    .map(|(model, share)| share * f64::from(chunk.model(model)[at]))
                    .sum();
                *out = of_base * f64::from(chunk.base()[at]) + sum;
            }
        }
    }
}

fn coefficients(gram: &Gram) -> (f64, Vec<f64>) {
    let count = gram.models();
    let cosines = gram.cosines();
    let pairs = (0..count).flat_map(|t| (0..t).map(move |u| (t, u)));
    // A model that equals the base has no angle: it pulls nowhere, as one at right angles.
    let angles: Vec<f64> = pairs.map(|(t, u)| cosines[t][u].unwrap_or(0.0)).collect();
    let n = count as f64;
    let c = angles.iter().sum::<f64>() / angles.len().max(1) as f64;
    let divisor = 1.0 + (n - 1.0) * c;
    // Task vectors that cancel: there is no angle to go by, and the base stays.
    let t = if divisor.abs() < 1e-6 {
        0.0
    } else {
        n * c / divisor
    };
    (1.0 - t, vec![t / n; count])
}
