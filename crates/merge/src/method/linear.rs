//! Linear: the weighted mean of the models, θ = Σ wₜθₜ / Σ wₜ (or the plain sum without `normalize`).
//!
//! mergekit's `linear`; with equal weights, plain averaging ("model soup", Wortsman et al. 2022, eq. 1).

use super::{
    BaseUse, Default, Kind, Method, Parameter, Rule, Scope, Settings, Statistics, TensorPlace, WeightedSum,
    normalise,
};

pub(crate) struct Linear;

impl Method for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn formula(&self) -> &'static str {
        "θ = Σ wₜθₜ / Σ wₜ"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Unused
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "weight",
                scope: Scope::Model,
                kind: Kind::Number,
                default: Some(Default::Number(1.0)),
                summary: "share of the model",
            },
            Parameter {
                name: "normalize",
                scope: Scope::Merge,
                kind: Kind::Flag,
                default: Some(Default::Flag(true)),
                summary: "divide by the sum of the weights",
            },
        ]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let weights = settings.model_numbers("weight", tensor)?;
        let models = if settings.flag("normalize")? {
            normalise(&weights).ok_or("the weights sum to zero and cannot be normalised")?
        } else {
            weights
        };
        Ok(Box::new(WeightedSum { base: 0.0, models }))
    }
}
