//! Streaming sums of calibration: O(bins) memory, and O(vocabulary + positions) at most for class-wise ECE.

use super::class_wise::ClassSums;
use super::logarithmic::{LOG_BINS, edges};
use super::report::{Bin, Calibration};
use crate::prediction::Prediction;

/// The bin of a probability among `bins` of equal width; 1 is in the last.
pub(super) fn bin_of(p: f64, bins: usize) -> usize {
    ((p * bins as f64) as usize).min(bins.saturating_sub(1))
}

/// Sums of one kind, by bin.
#[derive(Clone, Debug, Default, PartialEq)]
struct BinSums {
    /// How many predictions.
    count: Vec<u64>,
    /// Σ of their probabilities.
    mass: Vec<f64>,
    /// How many came true.
    hits: Vec<u64>,
}

impl BinSums {
    fn new(bins: usize) -> BinSums {
        BinSums {
            count: vec![0; bins],
            mass: vec![0.0; bins],
            hits: vec![0; bins],
        }
    }

    fn add(&mut self, bin: usize, p: f64) {
        self.count[bin] += 1;
        self.mass[bin] += p;
    }

    /// `Σₘ |Hₘ − Sₘ| / N`.
    fn error(&self, positions: u64) -> f64 {
        let gaps = self
            .hits
            .iter()
            .zip(&self.mass)
            .map(|(hits, mass)| (*hits as f64 - mass).abs());
        gaps.sum::<f64>() / positions.max(1) as f64
    }

    /// Bins of equal width.
    fn rows(&self) -> Vec<Bin> {
        let bins = self.count.len() as f64;
        self.rows_between(|bin| (bin as f64 / bins, (bin + 1) as f64 / bins))
    }

    fn rows_between(&self, edges: impl Fn(usize) -> (f64, f64)) -> Vec<Bin> {
        let row = |bin: usize| Bin {
            from: edges(bin).0,
            to: edges(bin).1,
            predictions: self.count[bin],
            mass: self.mass[bin],
            hits: self.hits[bin],
        };
        (0..self.count.len()).map(row).collect()
    }
}

/// What calibration errors are made of, for one number of bins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CalibrationSums {
    bins: usize,
    classes: usize,
    positions: u64,
    /// Of the most probable token of every position.
    top: BinSums,
    /// Of all tokens. The first bin's mass and count follow from the others: see [`Self::full`].
    full: BinSums,
    class_wise: Option<ClassSums>,
    /// Of all tokens, by factors of two.
    logarithmic: Option<BinSums>,
}

impl CalibrationSums {
    /// Nothing counted yet, for `bins` bins (1 to 65,535) and a vocabulary of `classes`.
    pub(crate) fn new(bins: usize, classes: usize, class_wise: bool, logarithmic: bool) -> CalibrationSums {
        let bins = bins.clamp(1, usize::from(u16::MAX));
        CalibrationSums {
            bins,
            classes,
            positions: 0,
            top: BinSums::new(bins),
            full: BinSums::new(bins),
            class_wise: class_wise.then(|| ClassSums::new(classes)),
            logarithmic: logarithmic.then(|| BinSums::new(LOG_BINS)),
        }
    }

    /// Least probability of tokens that are to be listed one by one.
    pub(crate) fn least(bins: usize) -> f64 {
        1.0 / bins.max(1) as f64
    }

    /// Counts a position, but for what [`Self::mass_mut`] is for.
    pub(crate) fn add(&mut self, prediction: &Prediction) {
        self.positions += 1;
        let top = bin_of(prediction.p_max, self.bins);
        self.top.add(top, prediction.p_max);
        self.top.hits[top] += u64::from(prediction.rank == 0);
        for (_, p) in &prediction.probable {
            let bin = bin_of(*p, self.bins);
            if bin > 0 {
                self.full.add(bin, *p);
            }
        }
        self.full.hits[bin_of(prediction.p_target, self.bins)] += 1;
        if let Some(sums) = &mut self.class_wise {
            sums.add(prediction, self.bins);
        }
        if let (Some(sums), Some(row)) = (&mut self.logarithmic, &prediction.by_factors) {
            for bin in 0..LOG_BINS {
                sums.count[bin] += u64::from(row.count[bin]);
                sums.mass[bin] += row.mass[bin];
            }
            sums.hits[row.target] += 1;
        }
    }

    /// The mass of every token of the vocabulary, where class-wise ECE is asked for: each position adds its probabilities.
    pub(crate) fn mass_mut(&mut self) -> Option<&mut [f64]> {
        self.class_wise.as_mut().map(ClassSums::mass_mut)
    }

    /// The sums over all tokens, the first bin having what the others leave: masses sum to N, counts to N·K.
    fn full(&self) -> BinSums {
        let mut full = self.full.clone();
        full.mass[0] = self.positions as f64 - full.mass[1..].iter().sum::<f64>();
        full.count[0] = self.positions * self.classes as u64 - full.count[1..].iter().sum::<u64>();
        full
    }

    /// The errors and what they are made of.
    pub(crate) fn calibration(&self) -> Calibration {
        let full = self.full();
        Calibration {
            bins: self.bins,
            positions: self.positions,
            classes: self.classes,
            ece: self.top.error(self.positions),
            ece_stderr: None,
            class_wise_ece: self.class_wise.as_ref().map(|sums| sums.error(self.positions)),
            full_ece: full.error(self.positions),
            full_ece_stderr: None,
            full_ece_log: self.logarithmic.as_ref().map(|sums| sums.error(self.positions)),
            full_ece_log_stderr: None,
            top: self.top.rows(),
            full: full.rows(),
            logarithmic: self
                .logarithmic
                .as_ref()
                .map(|sums| sums.rows_between(edges))
                .unwrap_or_default(),
        }
    }

    /// ECE, Full-ECE and that by factors of two of everything but these positions, which are among those counted here.
    pub(super) fn errors_without(&self, others: &CalibrationSums) -> [f64; 3] {
        let positions = self.positions - others.positions;
        let error = |all: &BinSums, less: &BinSums| {
            let gap = |bin: usize| (all.hits[bin] - less.hits[bin]) as f64 - (all.mass[bin] - less.mass[bin]);
            (0..all.hits.len()).map(|bin| gap(bin).abs()).sum::<f64>() / positions.max(1) as f64
        };
        let logarithmic = self.logarithmic.as_ref().zip(others.logarithmic.as_ref());
        [
            error(&self.top, &others.top),
            error(&self.full(), &others.full()),
            logarithmic.map_or(0.0, |(all, less)| error(all, less)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction::predict;

    /// Golden values of ECE, class-wise ECE and Full-ECE, computed by the definitions.
    #[test]
    fn errors_are_those_of_the_definitions() {
        let rows: [([f64; 3], usize); 4] = [
            ([0.55, 0.30, 0.15], 0),
            ([0.05, 0.90, 0.05], 1),
            ([0.45, 0.35, 0.20], 2),
            ([0.10, 0.15, 0.75], 0),
        ];
        for (bins, ece, class_wise, full) in [
            (4, 0.3875, 1.0 / 3.0, 0.875),
            (10, 0.4375, 0.375, 0.975),
            (1, 0.1625, 0.141_666_666_7, 0.0),
        ] {
            let mut sums = CalibrationSums::new(bins, 3, true, false);
            for (row, target) in &rows {
                count(&mut sums, row, *target, bins);
            }
            let found = sums.calibration();
            assert!((found.ece - ece).abs() < 1e-7, "{bins} bins: ECE {}", found.ece);
            assert!(
                (found.full_ece - full).abs() < 1e-7,
                "{bins} bins: Full-ECE {}",
                found.full_ece
            );
            let found_class = found.class_wise_ece.unwrap();
            assert!(
                (found_class - class_wise).abs() < 1e-7,
                "{bins} bins: class-wise ECE {found_class}"
            );
            assert_eq!(found.full.iter().map(|bin| bin.predictions).sum::<u64>(), 12);
            assert_eq!(found.full.iter().map(|bin| bin.hits).sum::<u64>(), 4);
            assert!((found.full.iter().map(|bin| bin.mass).sum::<f64>() - 4.0).abs() < 1e-12);
        }
    }

    fn count(sums: &mut CalibrationSums, row: &[f64], target: usize, bins: usize) {
        // Off the edges of the bins by what f32 cannot hold, as real logits are.
        let mut logits: Vec<f32> = row.iter().map(|p| (p + 1e-9).ln() as f32).collect();
        let mut prediction = predict(&mut logits, target, 0.0);
        for ((token, p), row) in prediction.probable.iter_mut().zip(row) {
            assert!((*p - row).abs() < 1e-6, "token {token}");
            *p = *row;
        }
        prediction.p_max = row.iter().copied().fold(0.0, f64::max);
        prediction.p_target = row[target];
        prediction
            .probable
            .retain(|(_, p)| *p >= CalibrationSums::least(bins));
        for (mass, p) in sums.mass_mut().unwrap().iter_mut().zip(row) {
            *mass += p;
        }
        sums.add(&prediction);
    }

    #[test]
    fn a_uniform_prediction_has_no_full_error_and_one_that_is_always_wrong_has_two() {
        for (logits, target, expected) in [([0.0f32; 5], 3, 0.0), ([0.0, 90.0, 0.0, 0.0, 0.0], 3, 2.0)] {
            let mut sums = CalibrationSums::new(10, 5, false, false);
            for _ in 0..7 {
                sums.add(&predict(&mut logits.clone(), target, CalibrationSums::least(10)));
            }
            assert!((sums.calibration().full_ece - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn names_of_tokens_do_not_matter() {
        let logits: Vec<f32> = (0..40).map(|at| ((at * 31) % 37) as f32 / 6.0).collect();
        let errors = |turn: usize| {
            let mut sums = CalibrationSums::new(15, 40, true, false);
            for target in 0..40 {
                let mut row: Vec<f32> = (0..40).map(|at| logits[(at + target) % 40]).collect();
                row.rotate_left(turn);
                let prediction = predict(&mut row, (target + 40 - turn) % 40, CalibrationSums::least(15));
                for (mass, value) in sums.mass_mut().unwrap().iter_mut().zip(&row) {
                    *mass += f64::from(*value) * prediction.scale;
                }
                sums.add(&prediction);
            }
            let found = sums.calibration();
            [found.ece, found.full_ece, found.class_wise_ece.unwrap()]
        };
        for (a, b) in errors(0).iter().zip(errors(13)) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}
