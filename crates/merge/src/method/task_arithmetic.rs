//! Task arithmetic (Ilharco et al. 2023, arXiv 2212.04089): θ = θ₀ + λ Σ wₜ(θₜ − θ₀).
//!
//! mergekit's `task_arithmetic`: λ is its `lambda` (1 if not given), and `normalize` divides the weights by their sum.
//! Computed as one weighted sum, (1 − λΣwₜ)θ₀ + λΣ wₜθₜ, which in `f64` is the same to the last bit that is kept.

use super::{
    BaseUse, Default, Kind, Method, Parameter, Rule, Scope, Settings, Statistics, TensorPlace, WeightedSum,
    normalise, sum_in_any_order,
};

pub(crate) struct TaskArithmetic;

impl Method for TaskArithmetic {
    fn name(&self) -> &'static str {
        "task_arithmetic"
    }

    fn formula(&self) -> &'static str {
        "θ = θ₀ + λ Σ wₜ(θₜ − θ₀)"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter::WEIGHT,
            Parameter::LAMBDA,
            Parameter {
                name: "normalize",
                scope: Scope::Merge,
                kind: Kind::Flag,
                default: Some(Default::Flag(false)),
                summary: "divide the weights by their sum",
            },
        ]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let mut weights = settings.weights(tensor, statistics)?;
        if settings.flag("normalize")? {
            // Weights that cancel are taken as they are, as mergekit does: there is nothing to divide by.
            weights = normalise(&weights).unwrap_or(weights);
        }
        let lambda = settings.number("lambda")?;
        let models: Vec<f64> = weights.iter().map(|weight| lambda * weight).collect();
        Ok(Box::new(WeightedSum {
            base: 1.0 - sum_in_any_order(&models),
            models,
        }))
    }
}
