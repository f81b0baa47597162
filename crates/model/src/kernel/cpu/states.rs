//! What rows of hidden states are like, summed up.

use rayon::prelude::*;

use super::simd::{add_scaled, dot, vectorised};

/// Rows handled by one task; fixed, so that the sums are too.
const ROWS: usize = 32;

/// Sums over rows of hidden states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateSums {
    /// Σ h/‖h‖, a number for each dimension; a row of zeros has no direction.
    pub directions: Vec<f64>,
    /// Σ ‖h‖.
    pub norms: f64,
    /// The largest |component|.
    pub largest: f32,
    /// Rows that were summed up.
    pub rows: u64,
}

impl StateSums {
    /// Adds what was summed up of other rows.
    pub fn add(&mut self, other: &StateSums) {
        self.directions.resize(other.directions.len(), 0.0);
        for (sum, more) in self.directions.iter_mut().zip(&other.directions) {
            *sum += more;
        }
        self.norms += other.norms;
        self.largest = self.largest.max(other.largest);
        self.rows += other.rows;
    }
}

/// Of the rows of `x` (`[rows, width]`) that count.
pub fn state_sums(x: &[f32], counts: &[bool], width: usize) -> StateSums {
    let parts: Vec<StateSums> = x
        .par_chunks(ROWS * width)
        .zip(counts.par_chunks(ROWS))
        .map(|(x, counts)| {
            vectorised(
                #[inline(always)]
                || few(x, counts, width),
            )
        })
        .collect();
    let mut sums = StateSums::default();
    parts.iter().for_each(|part| sums.add(part));
    sums
}

#[inline(always)]
fn few(x: &[f32], counts: &[bool], width: usize) -> StateSums {
    let mut sums = StateSums::default();
    let mut directions = vec![0.0f32; width];
    for (row, _) in x.chunks(width).zip(counts).filter(|(_, counts)| **counts) {
        let norm = dot(row, row).sqrt();
        if norm > 0.0 {
            add_scaled(&mut directions, 1.0 / norm, row);
        }
        sums.norms += f64::from(norm);
        sums.largest = row
            .iter()
            .fold(sums.largest, |largest, value| largest.max(value.abs()));
        sums.rows += 1;
    }
    sums.directions = directions.into_iter().map(f64::from).collect();
    sums
}
