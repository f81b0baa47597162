//! Model Stock (Jang et al. 2024, arXiv 2403.19522): between the average and the base, by the angle of the fine-tunes.
//!
//! With c the mean cosine of the pairs (δᵢ, δⱼ), δₜ = θₜ − θ₀, and N models: t = N·c / (1 + (N−1)·c) and θ = t·mean(θₜ) + (1−t)·θ₀
//! (equation 4 for N = 2; the paper gives the ratio for N > 2 under equal angles, §4.2).

use super::measured_sum::MeasuredSum;
use super::{BaseUse, Method, Of, Parameter, Rule, Settings, Statistics, TensorPlace};
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
        &[]
    }

    fn rule(&self, _: &TensorPlace, _: &Settings<'_>, _: &Statistics) -> Result<Box<dyn Rule>, String> {
        Ok(Box::new(MeasuredSum {
            of: Of::TaskVectors,
            coefficients: |gram: &Gram| Ok(coefficients(gram)),
        }))
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
    let t = n * c / (1.0 + (n - 1.0) * c);
    (1.0 - t, vec![t / n; count])
}
