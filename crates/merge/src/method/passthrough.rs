//! Passthrough: one model's tensors as they are, or times `scale`.

use super::{
    BaseUse, Default, Kind, Method, Parameter, Rule, Scope, Settings, Statistics, TensorPlace, WeightedSum,
};

pub(crate) struct Passthrough;

impl Method for Passthrough {
    fn name(&self) -> &'static str {
        "passthrough"
    }

    fn formula(&self) -> &'static str {
        "θ = scale·θ₁"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Unused
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        1..=1
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "scale",
            scope: Scope::Model,
            kind: Kind::Number,
            default: Some(Default::Number(1.0)),
            summary: "factor of the tensor",
        }]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        Ok(Box::new(WeightedSum {
            base: 0.0,
            models: settings.model_numbers("scale", tensor)?,
        }))
    }
}
