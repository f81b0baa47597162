//! DARE (Yu et al. 2024, arXiv 2311.03099): drop elements of each δₜ = θₜ − θ₀ at random and rescale the rest.
//!
//! δ̂ₜ = mₜ⊙δₜ / density with mₜ ~ Bernoulli(density) (equation 1, its drop rate p being 1 − density): the expectation stays δₜ.
//! `dare_linear` sums, θ = θ₀ + λ Σ wₜδ̂ₜ; `dare_ties` lets the models elect a sign first, as ties does.
//!
//! Deviation of mergekit, with `rescale: l1`: the rest is rescaled so that Σ|δ̂ₜ| = Σ|δₜ| in each tensor.

use super::draw::{Chance, Draw, Rescale, kept};
use super::sparse::{Sparse, Sparsify};
use super::{
    BaseUse, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    TensorPlace,
};
use crate::kernel::vectorised;

/// `dare_linear`, and `dare_ties` with an election.
pub(crate) struct Dare {
    pub(crate) elects: bool,
}

const DENSITY: Parameter = Parameter {
    name: "density",
    scope: Scope::Model,
    kind: Kind::Number,
    default: Some(Default::Number(1.0)),
    summary: "probability that an element of the task vector is kept",
};

impl Method for Dare {
    fn name(&self) -> &'static str {
        if self.elects { "dare_ties" } else { "dare_linear" }
    }

    fn formula(&self) -> &'static str {
        if self.elects {
            "θ = θ₀ + λ Σ wₜδ̂ₜ over the models of the elected sign, δ̂ₜ = (θₜ − θ₀)/density with probability density, else 0"
        } else {
            "θ = θ₀ + λ Σ wₜδ̂ₜ, δ̂ₜ = (θₜ − θ₀)/density with probability density, else 0"
        }
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        const SUMS: &[Parameter] = &[
            Parameter::WEIGHT,
            DENSITY,
            Parameter::RESCALE,
            Parameter::SEED,
            Parameter::NORMALIZE,
            Parameter::LAMBDA,
        ];
        const ELECTS: &[Parameter] = &[
            Parameter::WEIGHT,
            DENSITY,
            Parameter::RESCALE,
            Parameter::SEED,
            Parameter::NORMALIZE,
            Parameter::LAMBDA,
            Parameter::VOTE,
        ];
        if self.elects { ELECTS } else { SUMS }
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let seed = settings.count("seed")?;
        let densities = settings.model_shares("density", tensor)?;
        let masks = densities.iter().enumerate().map(|(model, density)| Mask {
            draw: Draw::new(seed, model, &tensor.name),
            density: *density as f32,
            chance: Chance::of(*density as f32),
        });
        let sparsify = Random {
            masks: masks.collect(),
            rescale: Rescale::from_word(settings.word("rescale")),
        };
        Ok(Box::new(Sparse::new(
            sparsify,
            self.elects,
            tensor,
            settings,
            statistics,
        )?))
    }
}

/// Elements that are summed side by side.
const LANES: usize = 16;

/// Which elements of a model are kept.
struct Mask {
    draw: Draw,
    density: f32,
    chance: Chance,
}

/// Keeps elements at random.
struct Random {
    masks: Vec<Mask>,
    rescale: Rescale,
}

impl Sparsify for Random {
    fn passes(&self) -> usize {
        usize::from(self.rescale == Rescale::L1)
    }

    fn next(&self, found: &[Measured]) -> Option<Measure> {
        (self.rescale == Rescale::L1 && found.is_empty()).then_some(Measure::Sums(2 * self.masks.len()))
    }

    /// Σ|δ| and Σ|δ| of what is kept.
    fn sum(&self, model: usize, start: usize, delta: &[f32], sums: &mut [f64]) {
        let mask = &self.masks[model];
        let (all, kept_sums) = vectorised(
            #[inline(always)]
            || {
                let (mut all, mut sums) = ([0.0f64; LANES], [0.0f64; LANES]);
                for (number, lanes) in delta.chunks(LANES).enumerate() {
                    for ((lane, delta), (all, sum)) in
                        lanes.iter().enumerate().zip(all.iter_mut().zip(&mut sums))
                    {
                        let keeps = mask.draw.keeps(start + number * LANES + lane, mask.chance);
                        *all += f64::from(delta.abs());
                        *sum += f64::from(kept(delta.abs(), keeps));
                    }
                }
                (all, sums)
            },
        );
        sums[2 * model] += all.iter().sum::<f64>();
        sums[2 * model + 1] += kept_sums.iter().sum::<f64>();
    }

    fn apply(&self, found: &[Measured], model: usize, start: usize, delta: &mut [f32]) {
        let mask = &self.masks[model];
        let factor = match (self.rescale, found) {
            (Rescale::Inverse, _) if mask.density > 0.0 => 1.0 / mask.density,
            (Rescale::L1, [Measured::Sums(sums)]) if sums[2 * model + 1] > 0.0 => {
                (sums[2 * model] / sums[2 * model + 1]) as f32
            }
            _ => 1.0,
        };
        vectorised(
            #[inline(always)]
            || {
                for (at, delta) in delta.iter_mut().enumerate() {
                    *delta = kept(*delta * factor, mask.draw.keeps(start + at, mask.chance));
                }
            },
        );
    }
}
