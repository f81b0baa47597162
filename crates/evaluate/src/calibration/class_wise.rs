//! The sums of class-wise ECE, which are those of every token of the vocabulary.
//!
//! They are kept for groups of documents, as many as the standard error leaves out one after the other: sums of single documents would
//! take the vocabulary as many times as there are documents.

use std::collections::BTreeMap;

use rayon::prelude::*;
use tributary_model::mix;

use super::report::jackknife;
use super::sums::bin_of;
use crate::prediction::Prediction;

/// Groups of documents, of which one is left out at a time.
const GROUPS: usize = 20;
/// Tokens of the vocabulary whose masses are added by one task; fixed, so that each is added in the order of positions.
const STRIPE: usize = 2048;

/// Mass and hits of one token in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    mass: f64,
    hits: u64,
}

impl Cell {
    fn gap(&self) -> f64 {
        self.hits as f64 - self.mass
    }
}

/// Sums of a group of documents by token and bin. Only cells that something fell into exist, but for the first bin, which follows from
/// the rest.
#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    /// By token and bin, from bin 1 on.
    cells: BTreeMap<(u32, u16), Cell>,
    /// Probability mass of each token.
    mass: Vec<f64>,
    /// How often it came.
    hits: Vec<u64>,
    positions: u64,
}

impl Group {
    fn new(classes: usize) -> Group {
        Group {
            cells: BTreeMap::new(),
            mass: vec![0.0; classes],
            hits: vec![0; classes],
            positions: 0,
        }
    }

    fn add(&mut self, other: &Group) {
        for (at, cell) in &other.cells {
            let sum = self.cells.entry(*at).or_default();
            sum.mass += cell.mass;
            sum.hits += cell.hits;
        }
        for (sum, mass) in self.mass.iter_mut().zip(&other.mass) {
            *sum += mass;
        }
        for (sum, hits) in self.hits.iter_mut().zip(&other.hits) {
            *sum += hits;
        }
        self.positions += other.positions;
    }

    /// By how much every token came more often than was predicted, in its first bin: what is left of its sums when its upper bins are taken
    /// out.
    fn first_gaps(&self) -> Vec<f64> {
        let gap = |(hits, mass): (&u64, &f64)| *hits as f64 - mass;
        let mut first: Vec<f64> = self.hits.iter().zip(&self.mass).map(gap).collect();
        for ((token, _), cell) in &self.cells {
            first[*token as usize] -= cell.gap();
        }
        first
    }
}

/// Sums by token and bin, for groups of documents.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClassSums {
    bins: usize,
    classes: usize,
    groups: Vec<Group>,
    /// Of every document, its group: dealt out in a scattered order, so that what repeats itself in a text is not in one group.
    group_of: Vec<usize>,
}

impl ClassSums {
    pub(super) fn new(bins: usize, classes: usize, documents: usize) -> ClassSums {
        let groups = documents.clamp(1, GROUPS);
        let mut order: Vec<usize> = (0..documents).collect();
        order.sort_by_key(|document| mix(*document as u64));
        let mut group_of = vec![0; documents];
        for (rank, document) in order.into_iter().enumerate() {
            group_of[document] = rank % groups;
        }
        ClassSums {
            bins: bins.clamp(1, usize::from(u16::MAX)),
            classes,
            groups: vec![Group::new(classes); groups],
            group_of,
        }
    }

    /// Counts a position of a document, but for what [`Self::add_masses`] is for.
    pub(super) fn add(&mut self, document: usize, prediction: &Prediction) {
        let group = &mut self.groups[self.group_of[document]];
        group.positions += 1;
        group.hits[prediction.target] += 1;
        for (token, p) in &prediction.probable {
            let bin = bin_of(*p, self.bins);
            if bin > 0 {
                let cell = group.cells.entry((*token as u32, bin as u16)).or_default();
                cell.mass += p;
                cell.hits += u64::from(*token == prediction.target);
            }
        }
    }

    /// Adds to the masses of all tokens what positions give them: `rows`, `[positions, vocabulary]`, times each prediction's scale.
    /// `documents` are those of the positions.
    pub(super) fn add_masses(&mut self, documents: &[usize], rows: &[f32], predictions: &[Prediction]) {
        let positions: Vec<(usize, f64)> = documents
            .iter()
            .zip(predictions)
            .map(|(document, prediction)| (self.group_of[*document], prediction.scale))
            .collect();
        let classes = self.classes;
        // By stripe, what every group has of it.
        let mut stripes: Vec<Vec<&mut [f64]>> = Vec::new();
        stripes.resize_with(classes.div_ceil(STRIPE), Vec::new);
        for group in &mut self.groups {
            for (stripe, masses) in stripes.iter_mut().zip(group.mass.chunks_mut(STRIPE)) {
                stripe.push(masses);
            }
        }
        stripes.par_iter_mut().enumerate().for_each(|(number, groups)| {
            for (row, (group, scale)) in rows.chunks_exact(classes).zip(&positions) {
                for (mass, value) in groups[*group].iter_mut().zip(&row[number * STRIPE..]) {
                    *mass += f64::from(*value) * scale;
                }
            }
        });
    }

    /// Class-wise ECE, and its standard error, leaving out one group of documents after the other (jackknife); none for a single document.
    pub(super) fn error(&self) -> (f64, Option<f64>) {
        let mut total = Group::new(self.classes);
        for group in &self.groups {
            total.add(group);
        }
        let first = total.first_gaps();
        let upper: f64 = total.cells.values().map(|cell| cell.gap().abs()).sum();
        let without = |group: &Group| {
            let mut rest = upper;
            for (at, cell) in &group.cells {
                let gap = total.cells.get(at).map_or(0.0, Cell::gap);
                rest += (gap - cell.gap()).abs() - gap.abs();
            }
            let others = first.iter().zip(group.first_gaps());
            let positions = total.positions - group.positions;
            error(positions, others.map(|(all, own)| all - own), rest)
        };
        let without: Vec<f64> = self
            .groups
            .par_iter()
            .filter(|group| group.positions > 0)
            .map(without)
            .collect();
        let value = error(total.positions, first.iter().copied(), upper);
        (value, jackknife(&without))
    }
}

/// `1/K Σₖ Σₘ |Hₘₖ − Sₘₖ| / N`: of every token what it has in its first bin, and the sum of the other bins.
fn error(positions: u64, first: impl ExactSizeIterator<Item = f64>, upper: f64) -> f64 {
    let classes = first.len().max(1) as f64;
    (upper + first.map(f64::abs).sum::<f64>()) / (positions.max(1) as f64 * classes)
}
