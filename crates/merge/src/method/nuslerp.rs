//! NuSLERP: SLERP of two models whose weights say how far, without or with a base.
//!
//! t = w₁/(w₀ + w₁) (½ if the weights cancel), and x = [sin((1−t)Ω)·x₀ + sin(tΩ)·x₁] / sin Ω, linear where sin Ω < 1e-8. The xₜ are
//! the models' tensors, or with a base their differences from it (then θ₀ is added). Angles are those of the whole tensors, or
//! with `nuslerp_flatten: false` of each row (along the last dimension), with `nuslerp_row_wise: true` beside it of each column (along
//! the first), which is what mergekit means by that word.

use std::sync::OnceLock;

use super::measured_sum::MeasuredSum;
use super::sphere::{Parallel, slerp};
use super::{
    BaseUse, Chunk, Default, Kind, Measure, Measured, Method, Of, Parameter, Rule, Scope, Settings,
    Statistics, Step, TensorPlace,
};
use crate::statistics::Gram;

pub(crate) struct NuSlerp;

const PARALLEL: Parallel = Parallel::Sine(1e-8);

impl Method for NuSlerp {
    fn name(&self) -> &'static str {
        "nuslerp"
    }

    fn formula(&self) -> &'static str {
        "x = [sin((1−t)Ω)·x₀ + sin(tΩ)·x₁] / sin Ω, t = w₁/(w₀ + w₁), of models or of their differences from the base"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Optional
    }

    fn models(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                kind: Kind::Number,
                ..Parameter::WEIGHT
            },
            Parameter {
                name: "nuslerp_flatten",
                scope: Scope::Merge,
                kind: Kind::Flag,
                default: Some(Default::Flag(true)),
                summary: "one angle a tensor; else one a row or column",
            },
            Parameter {
                name: "nuslerp_row_wise",
                scope: Scope::Merge,
                kind: Kind::Flag,
                default: Some(Default::Flag(false)),
                summary: "without nuslerp_flatten: vectors along the first dimension instead of the last",
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
        let total: f64 = weights.iter().sum();
        let t = if total.abs() < 1e-6 {
            0.5
        } else {
            weights[1] / total
        };
        let has_base = settings.has_base();
        if settings.flag("nuslerp_flatten")? || tensor.shape.len() < 2 {
            return Ok(Box::new(MeasuredSum {
                of: if has_base { Of::TaskVectors } else { Of::Models },
                coefficients: move |gram: &Gram| {
                    let [first, second] = slerp(gram, t, &PARALLEL);
                    let base = if has_base { 1.0 - first - second } else { 0.0 };
                    Ok((base, vec![first, second]))
                },
            }));
        }
        if !settings.flag("nuslerp_row_wise")? {
            let row = tensor.row();
            return Ok(Box::new(ByRow { t, row }));
        }
        Ok(Box::new(ByColumn {
            t,
            columns: tensor.row(),
            coefficients: OnceLock::new(),
        }))
    }
}

/// The two vectors of a chunk, element by element, and what is added to the result.
fn pairs<'a>(chunk: &Chunk<'a>) -> impl Iterator<Item = (f64, f64, f64)> + use<'a> {
    let base = chunk.base();
    let both = chunk.model(0).iter().zip(chunk.model(1)).enumerate();
    both.map(move |(at, (first, second))| match base.get(at) {
        // Differences in `f32`, as everywhere.
        Some(base) => (
            f64::from(first - base),
            f64::from(second - base),
            f64::from(*base),
        ),
        None => (f64::from(*first), f64::from(*second), 0.0),
    })
}

/// Inner products of two vectors.
fn products(pairs: impl Iterator<Item = (f64, f64, f64)>) -> Gram {
    let sums = pairs.fold([0.0; 3], |[aa, ab, bb], (a, b, _)| {
        [aa + a * a, ab + a * b, bb + b * b]
    });
    Gram::from_packed(2, sums.to_vec())
}

struct ByRow {
    t: f64,
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
        let all: Vec<_> = pairs(chunk).collect();
        for range in chunk.units(self.row) {
            let row = &all[range.clone()];
            let [first, second] = slerp(&products(row.iter().copied()), self.t, &PARALLEL);
            for (out, (a, b, base)) in out[range].iter_mut().zip(row) {
                *out = base + first * a + second * b;
            }
        }
    }
}

struct ByColumn {
    t: f64,
    columns: usize,
    coefficients: OnceLock<Vec<[f64; 2]>>,
}

impl Rule for ByColumn {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        let [Measured::Sums(sums)] = found else {
            return Ok(Step::Measure(Measure::Sums(3 * self.columns)));
        };
        let column = |sums: &[f64]| slerp(&Gram::from_packed(2, sums.to_vec()), self.t, &PARALLEL);
        let _ = self.coefficients.set(sums.chunks_exact(3).map(column).collect());
        Ok(Step::Combine)
    }

    fn passes(&self) -> usize {
        2
    }

    fn sum(&self, _: &[Measured], chunk: &Chunk<'_>, sums: &mut [f64]) {
        for (at, (a, b, _)) in pairs(chunk).enumerate() {
            let column = 3 * ((chunk.start + at) % self.columns);
            sums[column] += a * a;
            sums[column + 1] += a * b;
            sums[column + 2] += b * b;
        }
    }

    fn combine(&self, _: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let coefficients = self.coefficients.get().map_or(&[][..], Vec::as_slice);
        for (at, (out, (a, b, base))) in out.iter_mut().zip(pairs(chunk)).enumerate() {
            let [first, second] = coefficients[(chunk.start + at) % self.columns];
            *out = base + first * a + second * b;
        }
    }
}
