//! SLERP (Shoemake 1985) of two models: along the arc between the tensors, taken as vectors.
//!
//! θ = [sin((1−t)Ω)·θ₀ + sin(tΩ)·θ₁] / sin Ω with Ω the angle between θ₀ and θ₁ (the lengths stay in: it is no unit vector that
//! is turned), and (1−t)·θ₀ + t·θ₁ where |cos Ω| > 0.9995. θ₀ is the base model, t goes from 0 (the base) to 1.

use super::measured_sum::MeasuredSum;
use super::sphere::{Parallel, slerp};
use super::{BaseUse, Kind, Method, Of, Parameter, Rule, Scope, Settings, Statistics, TensorPlace};

pub(crate) struct Slerp;

/// From which cosine on two tensors count as parallel.
const PARALLEL: f64 = 0.9995;

impl Method for Slerp {
    fn name(&self) -> &'static str {
        "slerp"
    }

    fn formula(&self) -> &'static str {
        "θ = [sin((1−t)Ω)·θ₀ + sin(tΩ)·θ₁] / sin Ω, Ω the angle between θ₀ and θ₁"
    }

    fn base(&self) -> BaseUse {
        BaseUse::First
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "t",
            scope: Scope::Tensor,
            kind: Kind::Number,
            default: None,
            summary: "how far from the base (0) to the other model (1)",
        }]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let t = settings.tensor_number("t", tensor)?;
        Ok(Box::new(MeasuredSum {
            of: Of::Models,
            coefficients: move |gram: &_| Ok((0.0, slerp(gram, t, &Parallel::Cosine(PARALLEL)).to_vec())),
        }))
    }
}
