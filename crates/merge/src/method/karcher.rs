//! Karcher (Riemannian) mean of directions on the sphere, at the mean length (Karcher 1977).
//!
//! Starting at the normalised mean of the directions uₜ, each step walks to u ← exp_u(Σ αₜ log_u(uₜ)) until the tangent is
//! shorter than `tol` or `max_iter` steps are done; log_u(uₜ) = (Ω/sin Ω)(uₜ − cos Ω·u). The result is u·Σ αₜ‖θₜ‖. Weights are
//! equal; models whose tensor is zero have no direction and are left out.

use super::measured_sum::MeasuredSum;
use super::sphere::Point;
use super::{BaseUse, Default, Kind, Method, Of, Parameter, Rule, Scope, Settings, Statistics, TensorPlace};
use crate::statistics::Gram;

pub(crate) struct Karcher;

impl Method for Karcher {
    fn name(&self) -> &'static str {
        "karcher"
    }

    fn formula(&self) -> &'static str {
        "θ = u·Σ αₜ‖θₜ‖, u the Karcher mean of the θₜ/‖θₜ‖ on the sphere, αₜ = 1/T"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Unused
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "max_iter",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(10.0)),
                summary: "most steps",
            },
            Parameter {
                name: "tol",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(1e-5)),
                summary: "length of a step that is short enough",
            },
        ]
    }

    fn rule(
        &self,
        _: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let (steps, tolerance) = (settings.count("max_iter")? as usize, settings.number("tol")?);
        Ok(Box::new(MeasuredSum {
            of: Of::Models,
            coefficients: move |gram: &Gram| Ok((0.0, coefficients(gram, steps, tolerance))),
        }))
    }
}

fn coefficients(gram: &Gram, steps: usize, tolerance: f64) -> Vec<f64> {
    let lengths: Vec<f64> = gram.squared_norms().iter().map(|square| square.sqrt()).collect();
    let with_direction: Vec<usize> = (0..gram.models()).filter(|index| lengths[*index] > 0.0).collect();
    let Some(&first) = with_direction.first() else {
        return vec![0.0; gram.models()];
    };
    let share = 1.0 / with_direction.len() as f64;
    let units: Vec<Point> = with_direction
        .iter()
        .map(|index| Point::unit(gram, *index))
        .collect();
    let mut point = Point::zero(gram);
    for unit in &units {
        point.add(share, unit);
    }
    let length = point.norm(gram);
    if length > tolerance {
        point.scale(1.0 / length);
    } else {
        // The directions cancel; any of them is as good a beginning.
        point = Point::unit(gram, first);
    }
    for _ in 0..steps {
        let mut tangent = Point::zero(gram);
        for unit in &units {
            let cosine = unit.dot(&point, gram).clamp(-1.0, 1.0);
            let angle = cosine.acos();
            let sine = angle.sin();
            if sine > SMALLEST_SINE {
                let factor = share * angle / sine;
                tangent.add(factor, unit);
                tangent.add(-factor * cosine, &point);
            }
        }
        if tangent.norm(gram) < tolerance {
            break;
        }
        point = point.walk(&tangent, gram);
        let length = point.norm(gram);
        point.scale(1.0 / length);
    }
    let length: f64 = with_direction.iter().map(|index| share * lengths[*index]).sum();
    point.scale(length);
    point.0
}

/// Directions closer (or more opposite) than this have no tangent worth taking.
const SMALLEST_SINE: f64 = 1e-12;
