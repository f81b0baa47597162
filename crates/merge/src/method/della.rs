//! DELLA (Deep et al. 2024, arXiv 2406.11617): as DARE, but larger elements are kept more likely.
//!
//! Within each row of a tensor (its last dimension), the elements of δₜ = θₜ − θ₀ are ranked by magnitude; the probability that
//! one is kept goes linearly from density − ε (the smallest) to density + ε (the largest), and it is divided by it (§3.1).
//! `della` elects a sign and averages what is kept, as ties does; `della_linear` sums.
//!
//! Deviation of mergekit, with `rescale: l1`: the rest is rescaled so that Σ|δ̂ₜ| = Σ|δₜ| in each tensor.

use super::draw::{Draw, Rescale};
use super::ranks::key;
use super::sparse::{Sparse, Sparsify};
use super::{
    BaseUse, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    TensorPlace,
};

/// `della` with an election, and `della_linear`.
pub(crate) struct Della {
    pub(crate) elects: bool,
}

const DENSITY: Parameter = Parameter {
    name: "density",
    scope: Scope::Model,
    kind: Kind::Number,
    default: Some(Default::Number(1.0)),
    summary: "mean probability that an element of the task vector is kept",
};
const EPSILON: Parameter = Parameter {
    name: "epsilon",
    scope: Scope::Model,
    kind: Kind::Number,
    default: Some(Default::Number(0.15)),
    summary: "by how much that of the largest is higher and that of the smallest lower",
};

impl Method for Della {
    fn name(&self) -> &'static str {
        if self.elects { "della" } else { "della_linear" }
    }

    fn formula(&self) -> &'static str {
        if self.elects {
            "θ = θ₀ + λ Σ wₜδ̂ₜ / Σ wₜ over the models of the elected sign, δ̂ₜ = (θₜ − θ₀)/p with probability p ∈ density ± ε by rank"
        } else {
            "θ = θ₀ + λ Σ wₜδ̂ₜ, δ̂ₜ = (θₜ − θ₀)/p with probability p ∈ density ± ε by rank"
        }
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        const SUMS: &[Parameter] = &[
            Parameter::WEIGHT,
            DENSITY,
            EPSILON,
            Parameter::RESCALE,
            Parameter::SEED,
            Parameter::NORMALIZE,
            Parameter::LAMBDA,
        ];
        const ELECTS: &[Parameter] = &[
            Parameter::WEIGHT,
            DENSITY,
            EPSILON,
            Parameter::RESCALE,
            Parameter::SEED,
            Parameter::NORMALIZE_TAKING_PART,
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
        let epsilons = settings.model_shares("epsilon", tensor)?;
        let mut masks = Vec::new();
        for (model, (density, epsilon)) in densities.iter().zip(&epsilons).enumerate() {
            if density - epsilon < 0.0 || density + epsilon > 1.0 && *density < 1.0 {
                return Err(format!(
                    "density {density} ± epsilon {epsilon} of {} is no range of probabilities",
                    settings.name(model)
                ));
            }
            masks.push(Mask {
                draw: Draw::new(seed, model, &tensor.name),
                lowest: density - epsilon,
                // A density of 1 keeps everything.
                spread: if *density >= 1.0 { 0.0 } else { 2.0 * epsilon },
                keeps_all: *density >= 1.0,
            });
        }
        let sparsify = ByRank {
            masks,
            row: tensor.row(),
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

/// Which elements of a model are kept.
struct Mask {
    draw: Draw,
    lowest: f64,
    spread: f64,
    keeps_all: bool,
}

/// Keeps elements at random, larger ones of a row more likely.
struct ByRank {
    masks: Vec<Mask>,
    row: usize,
    rescale: Rescale,
}

impl ByRank {
    /// Calls `say` with each element's place, and the probability it was kept with if it was.
    fn draw(&self, model: usize, start: usize, delta: &[f32], mut say: impl FnMut(usize, Option<f64>)) {
        let mask = &self.masks[model];
        let mut order: Vec<usize> = Vec::with_capacity(self.row);
        for row in (0..delta.len()).step_by(self.row) {
            let end = (row + self.row).min(delta.len());
            order.clear();
            order.extend(row..end);
            // From the smallest to the largest; of equal ones the first comes first.
            order.sort_by_key(|at| key(delta[*at]));
            let steps = (end - row).saturating_sub(1).max(1) as f64;
            for (rank, at) in order.iter().enumerate() {
                let probability = if mask.keeps_all {
                    1.0
                } else {
                    mask.lowest + mask.spread * rank as f64 / steps
                };
                let is_kept = f64::from(mask.draw.uniform(start + at)) < probability;
                say(*at, is_kept.then_some(probability));
            }
        }
    }
}

impl Sparsify for ByRank {
    fn unit(&self) -> usize {
        self.row
    }

    fn passes(&self) -> usize {
        usize::from(self.rescale == Rescale::L1)
    }

    fn next(&self, found: &[Measured]) -> Option<Measure> {
        (self.rescale == Rescale::L1 && found.is_empty()).then_some(Measure::Sums(2 * self.masks.len()))
    }

    /// Σ|δ| and Σ|δ| of what is kept.
    fn sum(&self, model: usize, start: usize, delta: &[f32], sums: &mut [f64]) {
        let (mut all, mut kept) = (0.0, 0.0);
        self.draw(model, start, delta, |at, probability| {
            let size = f64::from(delta[at].abs());
            all += size;
            kept += if probability.is_some() { size } else { 0.0 };
        });
        sums[2 * model] += all;
        sums[2 * model + 1] += kept;
    }

    fn apply(&self, found: &[Measured], model: usize, start: usize, delta: &mut [f32]) {
        let l1 = match found {
            [Measured::Sums(sums)] if sums[2 * model + 1] > 0.0 => {
                (sums[2 * model] / sums[2 * model + 1]) as f32
            }
            _ => 1.0,
        };
        let before = delta.to_vec();
        self.draw(model, start, &before, |at, probability| {
            delta[at] = match (probability, self.rescale) {
                (None, _) => 0.0,
                (Some(probability), Rescale::Inverse) => (f64::from(before[at]) / probability) as f32,
                (Some(_), Rescale::L1) => before[at] * l1,
                (Some(_), Rescale::No) => before[at],
            };
        });
    }
}
