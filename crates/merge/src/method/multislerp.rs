//! Multi-SLERP: a weighted mean of directions, taken in the tangent space at their mean.
//!
//! With uₜ = xₜ/‖xₜ‖, μ = Σ wₜuₜ / ‖Σ wₜuₜ‖, tangents vₜ = uₜ − (uₜ·μ)μ and v = Σ wₜvₜ: x = exp_μ(v)·Σ wₜ‖xₜ‖. The xₜ are the
//! models, or their differences from the base where there is one (then θ₀ is added).

use super::measured_sum::MeasuredSum;
use super::sphere::Point;
use super::{
    BaseUse, Default, Kind, Method, Of, Parameter, Rule, Scope, Settings, Statistics, TensorPlace, normalise,
};
use crate::statistics::Gram;

pub(crate) struct MultiSlerp;

impl Method for MultiSlerp {
    fn name(&self) -> &'static str {
        "multislerp"
    }

    fn formula(&self) -> &'static str {
        "θ = exp_μ(Σ wₜ(uₜ − (uₜ·μ)μ))·Σ wₜ‖θₜ‖, uₜ = θₜ/‖θₜ‖, μ their mean direction"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Optional
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
                name: "normalize_weights",
                scope: Scope::Merge,
                kind: Kind::Flag,
                default: Some(Default::Flag(true)),
                summary: "divide the weights by their sum",
            },
            Parameter {
                name: "eps",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(1e-8)),
                summary: "lengths below this count as zero",
            },
        ]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let mut weights = settings.model_numbers("weight", tensor)?;
        if settings.flag("normalize_weights")? {
            weights = normalise(&weights).ok_or("the weights sum to zero and cannot be normalised")?;
        }
        let epsilon = settings.number("eps")?;
        let has_base = settings.has_base();
        Ok(Box::new(MeasuredSum {
            of: if has_base { Of::TaskVectors } else { Of::Models },
            coefficients: move |gram: &Gram| {
                let models = coefficients(gram, &weights, epsilon)?;
                let base = if has_base {
                    1.0 - models.iter().sum::<f64>()
                } else {
                    0.0
                };
                Ok((base, models))
            },
        }))
    }
}

fn coefficients(gram: &Gram, weights: &[f64], epsilon: f64) -> Result<Vec<f64>, String> {
    if gram.models() == 1 {
        return Ok(vec![1.0]);
    }
    // Tensors that no model changed, such as frozen norms: the point is zero, whatever the coefficients.
    if gram.squared_norms().iter().all(|square| *square == 0.0) {
        return Ok(vec![0.0; gram.models()]);
    }
    let units: Vec<Point> = (0..gram.models()).map(|index| Point::unit(gram, index)).collect();
    let mut mean = Point::zero(gram);
    for (unit, weight) in units.iter().zip(weights) {
        mean.add(*weight, unit);
    }
    let length = mean.norm(gram);
    if length < epsilon {
        if gram.models() == 2 {
            return Ok(weights.to_vec());
        }
        return Err("the weighted directions cancel: they have no mean".to_string());
    }
    mean.scale(1.0 / length);
    let mut tangent = Point::zero(gram);
    for (unit, weight) in units.iter().zip(weights) {
        tangent.add(*weight, unit);
        tangent.add(-weight * unit.dot(&mean, gram), &mean);
    }
    // A tangent shorter than this is none.
    let mut point = if tangent.norm(gram) < epsilon {
        mean
    } else {
        mean.walk(&tangent, gram)
    };
    let lengths = gram.squared_norms();
    point.scale(
        lengths
            .iter()
            .zip(weights)
            .map(|(square, weight)| weight * square.sqrt())
            .sum(),
    );
    Ok(point.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_changed_nothing_stay_where_they_are() {
        let same = Gram::from_packed(3, vec![0.0; 6]);
        assert_eq!(coefficients(&same, &[0.3, 0.3, 0.4], 1e-8), Ok(vec![0.0; 3]));
        // Three directions a third of a turn apart have no mean.
        let cancel = Gram::from_packed(3, vec![1.0, -0.5, 1.0, -0.5, -0.5, 1.0]);
        assert!(coefficients(&cancel, &[1.0 / 3.0; 3], 1e-8).is_err());
    }
}
