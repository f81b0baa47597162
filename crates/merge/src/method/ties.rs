//! TIES (Yadav et al. 2023, arXiv 2306.01708): trim, elect a sign, merge those who agree.
//!
//! Of each δₜ = θₜ − θ₀ the ⌊density·n⌋ elements largest in magnitude are kept (§4, step 1; the paper's k is 100·density), a
//! sign is elected for each element (step 2), and the task vectors of that sign are averaged (step 3): θ = θ₀ + λ Σ wₜδ̂ₜ / Σ wₜ.
//!
//! Deviation of mergekit, with `vote: weighted`: the weights enter the election. Of equal magnitudes at the edge, the first
//! in the tensor are kept, so that exactly ⌊density·n⌋ are.

use std::ops::Range;

use super::ranks::{Cut, Ranks};
use super::sparse::{Sparse, Sparsify};
use super::{
    BaseUse, Default, Kind, Measure, Measured, Method, Parameter, Rule, Scope, Settings, Statistics,
    TensorPlace,
};

pub(crate) struct Ties;

impl Method for Ties {
    fn name(&self) -> &'static str {
        "ties"
    }

    fn formula(&self) -> &'static str {
        "θ = θ₀ + λ Σ wₜδ̂ₜ / Σ wₜ over the models of the elected sign, δ̂ₜ = largest ⌊density·n⌋ of θₜ − θ₀"
    }

    fn base(&self) -> BaseUse {
        BaseUse::Required
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter::WEIGHT,
            Parameter {
                name: "density",
                scope: Scope::Model,
                kind: Kind::Number,
                default: Some(Default::Number(1.0)),
                summary: "share of the task vector's elements that is kept, the largest ones",
            },
            Parameter::NORMALIZE_TAKING_PART,
            Parameter::LAMBDA,
            Parameter::VOTE,
        ]
    }

    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Box<dyn Rule>, String> {
        let densities = settings.model_shares("density", tensor)?;
        let sparsify = Largest::new(&densities, tensor.elements());
        Ok(Box::new(Sparse::new(
            sparsify, true, tensor, settings, statistics,
        )?))
    }
}

/// Keeps the largest elements of each task vector.
struct Largest(Ranks);

impl Largest {
    fn new(densities: &[f64], elements: usize) -> Largest {
        let cut = |(vector, density): (usize, &f64)| Cut {
            vector,
            k: (density * elements as f64) as usize,
        };
        Largest(Ranks::new(
            densities.len(),
            elements,
            densities.iter().enumerate().map(cut).collect(),
        ))
    }
}

impl Sparsify for Largest {
    fn passes(&self) -> usize {
        self.0.passes()
    }

    fn counts(&self) -> usize {
        self.0.counts()
    }

    fn forget(&self) {
        self.0.forget();
    }

    fn next(&self, found: &[Measured]) -> Option<Measure> {
        self.0.next(found)
    }

    fn count(&self, model: usize, start: usize, delta: &[f32], counts: &mut [u32]) {
        self.0.count(model, start, delta, counts);
    }

    fn counted(&self, range: Range<usize>, counts: &[u32]) {
        self.0.counted(range, counts);
    }

    fn apply(&self, _: &[Measured], model: usize, start: usize, delta: &mut [f32]) {
        self.0.keep(model, start, delta);
    }
}
