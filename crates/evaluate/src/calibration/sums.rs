//! Streaming sums of calibration: O(bins) memory.

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

    fn merge(&mut self, other: &BinSums) {
        for bin in 0..self.count.len() {
            self.count[bin] += other.count[bin];
            self.mass[bin] += other.mass[bin];
            self.hits[bin] += other.hits[bin];
        }
    }

    /// `Hₘ − Sₘ` by bin.
    fn gaps(&self) -> impl Iterator<Item = f64> {
        let gap = |(hits, mass): (&u64, &f64)| *hits as f64 - mass;
        self.hits.iter().zip(&self.mass).map(gap)
    }

    /// `Σₘ |Hₘ − Sₘ| / N`.
    fn error(&self, positions: u64) -> f64 {
        self.gaps().map(f64::abs).sum::<f64>() / positions.max(1) as f64
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
    /// Of all tokens, by factors of two.
    logarithmic: Option<BinSums>,
}

impl CalibrationSums {
    /// Nothing counted yet, for `bins` bins (1 to 65,535) and a vocabulary of `classes`.
    pub(crate) fn new(bins: usize, classes: usize, logarithmic: bool) -> CalibrationSums {
        let bins = bins.clamp(1, usize::from(u16::MAX));
        CalibrationSums {
            bins,
            classes,
            positions: 0,
            top: BinSums::new(bins),
            full: BinSums::new(bins),
            logarithmic: logarithmic.then(|| BinSums::new(LOG_BINS)),
        }
    }

    /// Least probability of tokens that are to be listed one by one.
    pub(crate) fn least(bins: usize) -> f64 {
        1.0 / bins.max(1) as f64
    }

    /// Positions counted.
    pub(super) fn positions(&self) -> u64 {
        self.positions
    }

    /// Counts a position.
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
        if let (Some(sums), Some(row)) = (&mut self.logarithmic, &prediction.by_factors) {
            for bin in 0..LOG_BINS {
                sums.count[bin] += u64::from(row.count[bin]);
                sums.mass[bin] += row.mass[bin];
            }
            sums.hits[row.target] += 1;
        }
    }

    /// Adds what was counted for other positions, with the same bins.
    pub(super) fn merge(&mut self, other: &CalibrationSums) {
        self.positions += other.positions;
        self.top.merge(&other.top);
        self.full.merge(&other.full);
        if let (Some(sums), Some(others)) = (&mut self.logarithmic, &other.logarithmic) {
            sums.merge(others);
        }
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
            ece_interval: None,
            class_wise_ece: None,
            class_wise_ece_stderr: None,
            full_ece: full.error(self.positions),
            full_ece_stderr: None,
            full_ece_interval: None,
            full_ece_log: self.logarithmic.as_ref().map(|sums| sums.error(self.positions)),
            full_ece_log_stderr: None,
            full_ece_log_interval: None,
            top: self.top.rows(),
            full: full.rows(),
            logarithmic: self
                .logarithmic
                .as_ref()
                .map(|sums| sums.rows_between(edges))
                .unwrap_or_default(),
        }
    }
}

/// By how much tokens came more often than was predicted, by bin, of any documents: what ECE, Full-ECE and that by factors of two are
/// the absolute sums of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gaps {
    positions: u64,
    tables: [Vec<f64>; 3],
}

impl Gaps {
    /// What documents of the same bins have; of those by factors of two none if they were not asked for.
    pub(super) fn of(sums: &CalibrationSums) -> Gaps {
        let logarithmic = sums.logarithmic.as_ref();
        Gaps {
            positions: sums.positions,
            tables: [
                sums.top.gaps().collect(),
                sums.full().gaps().collect(),
                logarithmic.map(|sums| sums.gaps().collect()).unwrap_or_default(),
            ],
        }
    }

    /// Adds those of other documents.
    pub(super) fn add(&mut self, other: &Gaps) {
        self.positions += other.positions;
        for (gap, other) in self.with(other) {
            *gap += other;
        }
    }

    /// Takes documents out again.
    pub(super) fn subtract(&mut self, other: &Gaps) {
        self.positions -= other.positions;
        for (gap, other) in self.with(other) {
            *gap -= other;
        }
    }

    fn with<'a>(&'a mut self, other: &'a Gaps) -> impl Iterator<Item = (&'a mut f64, &'a f64)> {
        self.tables
            .iter_mut()
            .flatten()
            .zip(other.tables.iter().flatten())
    }

    /// ECE, Full-ECE and that by factors of two.
    pub(super) fn errors(&self) -> [f64; 3] {
        let error =
            |table: &Vec<f64>| table.iter().map(|gap| gap.abs()).sum::<f64>() / self.positions.max(1) as f64;
        self.tables.each_ref().map(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::DocumentSums;
    use crate::measure::CalibrationWanted;
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
            let mut sums = DocumentSums::new(wanted(bins), 3, 4);
            for (document, (row, target)) in rows.iter().enumerate() {
                count(&mut sums, document, row, *target, bins);
            }
            let found = sums.finish();
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

    fn wanted(bins: usize) -> CalibrationWanted {
        CalibrationWanted {
            bins,
            class_wise: true,
            logarithmic: false,
        }
    }

    fn count(sums: &mut DocumentSums, document: usize, row: &[f64], target: usize, bins: usize) {
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
        let exact: Vec<f32> = row.iter().map(|p| (*p / prediction.scale) as f32).collect();
        sums.add_masses(&[document], &exact, std::slice::from_ref(&prediction));
        sums.add(document, &prediction);
    }

    #[test]
    fn a_uniform_prediction_has_no_full_error_and_one_that_is_always_wrong_has_two() {
        for (logits, target, expected) in [([0.0f32; 5], 3, 0.0), ([0.0, 90.0, 0.0, 0.0, 0.0], 3, 2.0)] {
            let mut sums = CalibrationSums::new(10, 5, false);
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
            let mut sums = DocumentSums::new(wanted(15), 40, 40);
            for target in 0..40 {
                let mut row: Vec<f32> = (0..40).map(|at| logits[(at + target) % 40]).collect();
                row.rotate_left(turn);
                let prediction = predict(&mut row, (target + 40 - turn) % 40, CalibrationSums::least(15));
                sums.add_masses(&[target], &row, std::slice::from_ref(&prediction));
                sums.add(target, &prediction);
            }
            let found = sums.finish();
            [found.ece, found.full_ece, found.class_wise_ece.unwrap()]
        };
        for (a, b) in errors(0).iter().zip(errors(13)) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}
