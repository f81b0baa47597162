//! NearSwap: towards the other model where it is near, hardly where it is far.
//!
//! α = min(t / |θ₀ − θ₁|, 1) for each element, and θ = α·θ₁ + (1−α)·θ₀.

use super::{
    BaseUse, Chunk, Kind, Measured, Method, Parameter, Rule, Scope, Settings, Statistics, Step, TensorPlace,
};

pub(crate) struct NearSwap;

impl Method for NearSwap {
    fn name(&self) -> &'static str {
        "nearswap"
    }

    fn formula(&self) -> &'static str {
        "θ = α·θ₁ + (1−α)·θ₀, α = min(t / |θ₀ − θ₁|, 1) element by element"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        1..=1
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "t",
            scope: Scope::Tensor,
            kind: Kind::Number,
            default: None,
            summary: "distance up to which an element is taken from the other model",
        }]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let t = settings.tensor_number("t", tensor)?;
        Ok(Box::new(Near { t }))
    }
}

struct Near {
    t: f64,
}

impl Rule for Near {
    fn next(&self, _: &[Measured]) -> Result<Step, String> {
        Ok(Step::Combine)
    }

    fn combine(&self, _: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        for ((out, base), other) in out.iter_mut().zip(chunk.base()).zip(chunk.model(0)) {
            let (base, other) = (f64::from(*base), f64::from(*other));
            let distance = (base - other).abs();
            let alpha = if distance > 0.0 {
                (self.t / distance).clamp(0.0, 1.0)
            } else {
                1.0
            };
            *out = alpha * other + (1.0 - alpha) * base;
        }
    }
}
