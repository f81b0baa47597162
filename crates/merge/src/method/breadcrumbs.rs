//! Model Breadcrumbs (Davari & Belilovsky 2023, arXiv 2312.06795): drop the outliers and the small change of each δₜ = θₜ − θ₀.
//!
//! Per tensor of n elements, the ⌊γn⌋ largest in magnitude are dropped, and of the others the smallest, so that ⌊density·n⌋
//! are left: θ = θ₀ + λ Σ wₜδ̂ₜ. `breadcrumbs_ties` lets the models elect a sign first, as ties does.
//!
//! Fewer outliers are dropped where fewer than ⌊density·n⌋ would be left.

use std::ops::Range;

use super::ranks::{Cut, Ranks};
use super::sparse::{Sparse, Sparsify};
use super::{
    BaseUse, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    TensorPlace,
};

/// `breadcrumbs`, and `breadcrumbs_ties` with an election.
pub(crate) struct Breadcrumbs {
    pub(crate) elects: bool,
}

const SPARSITY: [Parameter; 2] = [
    Parameter {
        name: "density",
        scope: Scope::Model,
        kind: Kind::Number,
        default: Some(Default::Number(1.0)),
        summary: "share of the task vector's elements that is kept",
    },
    Parameter {
        name: "gamma",
        scope: Scope::Model,
        kind: Kind::Number,
        default: Some(Default::Number(0.01)),
        summary: "share of the task vector's elements that is dropped as outliers, the largest ones",
    },
];

impl Method for Breadcrumbs {
    fn name(&self) -> &'static str {
        if self.elects {
            "breadcrumbs_ties"
        } else {
            "breadcrumbs"
        }
    }

    fn formula(&self) -> &'static str {
        if self.elects {
            "θ = θ₀ + λ Σ wₜδ̂ₜ / Σ wₜ over the models of the elected sign, δ̂ₜ = θₜ − θ₀ without the largest and the smallest"
        } else {
            "θ = θ₀ + λ Σ wₜδ̂ₜ, δ̂ₜ = θₜ − θ₀ without the largest and the smallest"
        }
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        const SUMS: &[Parameter] = &[
            Parameter::WEIGHT,
            SPARSITY[0],
            SPARSITY[1],
            Parameter::NORMALIZE,
            Parameter::LAMBDA,
        ];
        const ELECTS: &[Parameter] = &[
            Parameter::WEIGHT,
            SPARSITY[0],
            SPARSITY[1],
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
        let densities = settings.model_shares("density", tensor)?;
        let gammas = settings.model_shares("gamma", tensor)?;
        let sparsify = Middle::new(&densities, &gammas, tensor.elements());
        Ok(Box::new(Sparse::new(
            sparsify,
            self.elects,
            tensor,
            settings,
            statistics,
        )?))
    }
}

/// Keeps what is neither among the largest nor among the smallest.
struct Middle {
    /// Two cuts a model: with the outliers, and the outliers alone.
    ranks: Ranks,
}

impl Middle {
    fn new(densities: &[f64], gammas: &[f64], elements: usize) -> Middle {
        let count = |share: f64| (share * elements as f64) as usize;
        let cuts = densities
            .iter()
            .zip(gammas)
            .enumerate()
            .flat_map(|(vector, (density, gamma))| {
                let kept = count(*density);
                let outliers = if kept == elements { 0 } else { count(*gamma) };
                let small = elements.saturating_sub(kept + outliers);
                // Fewer outliers are dropped where the others would be fewer than are to be kept.
                [elements - small, elements - small - kept].map(|k| Cut { vector, k })
            });
        let cuts = cuts.collect();
        Middle {
            ranks: Ranks::new(densities.len(), elements, cuts),
        }
    }
}

impl Sparsify for Middle {
    fn passes(&self) -> usize {
        self.ranks.passes()
    }

    fn counts(&self) -> usize {
        self.ranks.counts()
    }

    fn forget(&self) {
        self.ranks.forget();
    }

    fn next(&self, found: &[Measured]) -> Option<Measure> {
        self.ranks.next(found)
    }

    fn count(&self, model: usize, start: usize, delta: &[f32], counts: &mut [u32]) {
        self.ranks.count(model, start, delta, counts);
    }

    fn counted(&self, range: Range<usize>, counts: &[u32]) {
        self.ranks.counted(range, counts);
    }

    fn apply(&self, _: &[Measured], model: usize, start: usize, delta: &mut [f32]) {
        let before = delta.to_vec();
        for (cut, keeps) in [(2 * model, true), (2 * model + 1, false)] {
            self.ranks.belongs(cut, start, &before, |at, belongs| {
                if belongs != keeps {
                    delta[at] = 0.0;
                }
            });
        }
    }
}
