//! RAM and RAM+ (merging of models trained by reinforcement): what one model alone has changed is kept whole, what several have
//! changed is averaged.
//!
//! A model touches an element if |δₜ| > ε, δₜ = θₜ − θ₀. Where one model touches it, θ = θ₀ + fₜδₜ; where several do, θ = θ₀ + the
//! mean of theirs. `ram` has fₜ = 1; `ramplus_tl` makes up for what averaging takes from a model in a tensor,
//! fₜ = 1 + r·min(sharedₜ/uniqueₜ, α), with the numbers of elements that it shares and has alone.

use super::{
    BaseUse, Chunk, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    Step, TensorPlace,
};

/// `ram`, and `ramplus_tl` with factors.
pub(crate) struct Ram {
    pub(crate) compensates: bool,
}

const EPSILON: Parameter = Parameter {
    name: "epsilon",
    scope: Scope::Merge,
    kind: Kind::Number,
    default: Some(Default::Number(1e-5)),
    summary: "change from which on an element counts as touched",
};

impl Method for Ram {
    fn name(&self) -> &'static str {
        if self.compensates { "ramplus_tl" } else { "ram" }
    }

    fn formula(&self) -> &'static str {
        if self.compensates {
            "θ = θ₀ + (1 + r·min(sharedₜ/uniqueₜ, α))·δₜ where one model changed an element, the mean δₜ of those who did elsewhere"
        } else {
            "θ = θ₀ + δₜ where one model changed an element, the mean δₜ of those who did elsewhere"
        }
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PLAIN: &[Parameter] = &[EPSILON];
        const COMPENSATES: &[Parameter] = &[
            EPSILON,
            Parameter {
                name: "r",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(0.1)),
                summary: "how much is made up for",
            },
            Parameter {
                name: "alpha",
                scope: Scope::Merge,
                kind: Kind::Number,
                default: Some(Default::Number(0.2)),
                summary: "highest ratio of shared to unique elements that counts",
            },
        ];
        if self.compensates { COMPENSATES } else { PLAIN }
    }

    fn rule(
        &self,
        _: &TensorPlace,
        settings: &Settings<'_>,
        _: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let compensation = match self.compensates {
            true => Some((settings.number("r")?, settings.number("alpha")?)),
            false => None,
        };
        Ok(Box::new(Touched {
            models: settings.models(),
            epsilon: settings.number("epsilon")? as f32,
            compensation,
        }))
    }
}

struct Touched {
    models: usize,
    epsilon: f32,
    /// r and α.
    compensation: Option<(f64, f64)>,
}

impl Touched {
    /// Task vectors at one element, by model, of those who touch it.
    fn at(&self, chunk: &Chunk<'_>, element: usize) -> impl Iterator<Item = (usize, f32)> {
        let base = chunk.base()[element];
        let delta = move |model: usize| (model, chunk.model(model)[element] - base);
        let epsilon = self.epsilon;
        (0..chunk.models())
            .map(delta)
            .filter(move |(_, delta)| delta.abs() > epsilon)
    }

    /// fₜ.
    fn factors(&self, found: &[Measured]) -> Vec<f64> {
        match (self.compensation, found) {
            (Some((r, alpha)), [Measured::Counts(counts)]) => counts
                .chunks_exact(2)
                .map(|pair| {
                    let ratio = if pair[1] > 0 {
                        pair[0] as f64 / pair[1] as f64
                    } else {
                        0.0
                    };
                    1.0 + r * ratio.clamp(0.0, alpha)
                })
                .collect(),
            _ => vec![1.0; self.models],
        }
    }
}

impl Rule for Touched {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        Ok(match (self.compensation, found) {
            (Some(_), []) => Step::Measure(Measure::Counts(2 * self.models)),
            _ => Step::Combine,
        })
    }

    fn passes(&self) -> usize {
        1 + usize::from(self.compensation.is_some())
    }

    fn counts(&self) -> usize {
        2 * self.models
    }

    /// Of each model: elements it shares, and elements it has alone.
    fn count(&self, _: &[Measured], chunk: &Chunk<'_>, counts: &mut [u32]) {
        for element in 0..chunk.len {
            let is_alone = self.at(chunk, element).count() == 1;
            for (model, _) in self.at(chunk, element) {
                counts[2 * model + usize::from(is_alone)] += 1;
            }
        }
    }

    fn combine(&self, found: &[Measured], chunk: &Chunk<'_>, out: &mut [f64]) {
        let factors = self.factors(found);
        for (element, (out, base)) in out.iter_mut().zip(chunk.base()).enumerate() {
            let (mut sum, mut count, mut factor) = (0.0, 0u32, 1.0);
            for (model, delta) in self.at(chunk, element) {
                sum += f64::from(delta);
                count += 1;
                factor = factors[model];
            }
            *out = f64::from(*base)
                + match count {
                    0 => 0.0,
                    1 => factor * sum,
                    _ => sum / f64::from(count),
                };
        }
    }
}
