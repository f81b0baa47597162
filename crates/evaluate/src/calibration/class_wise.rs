//! The sums of class-wise ECE, which are those of every token of the vocabulary.

use std::collections::BTreeMap;

use super::sums::bin_of;
use crate::prediction::Prediction;

/// Mass and hits of one token in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    mass: f64,
    hits: u64,
}

/// Sums by token and bin. Only cells that something fell into exist, but for the first bin, which follows from the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClassSums {
    /// By token and bin, from bin 1 on.
    cells: BTreeMap<(u32, u16), Cell>,
    /// Probability mass of each token.
    mass: Vec<f64>,
    /// How often it came.
    hits: Vec<u64>,
}

impl ClassSums {
    pub(super) fn new(classes: usize) -> ClassSums {
        ClassSums {
            cells: BTreeMap::new(),
            mass: vec![0.0; classes],
            hits: vec![0; classes],
        }
    }

    /// The mass of every token, to which each position adds its probabilities.
    pub(super) fn mass_mut(&mut self) -> &mut [f64] {
        &mut self.mass
    }

    /// Counts a position but for the masses.
    pub(super) fn add(&mut self, prediction: &Prediction, bins: usize) {
        self.hits[prediction.target] += 1;
        for (token, p) in &prediction.probable {
            let bin = bin_of(*p, bins);
            if bin > 0 {
                let cell = self.cells.entry((*token as u32, bin as u16)).or_default();
                cell.mass += p;
                cell.hits += u64::from(*token == prediction.target);
            }
        }
    }

    /// `1/K Σₖ Σₘ |Hₘₖ − Sₘₖ| / N`.
    pub(super) fn error(&self, positions: u64) -> f64 {
        // What is left of each token's sums when its upper bins are taken out.
        let mut first: Vec<f64> = self
            .hits
            .iter()
            .zip(&self.mass)
            .map(|(hits, mass)| *hits as f64 - mass)
            .collect();
        let mut upper = 0.0;
        for ((token, _), cell) in &self.cells {
            let gap = cell.hits as f64 - cell.mass;
            upper += gap.abs();
            first[*token as usize] -= gap;
        }
        let total = upper + first.iter().map(|gap| gap.abs()).sum::<f64>();
        total / (positions.max(1) as f64 * self.mass.len().max(1) as f64)
    }
}
