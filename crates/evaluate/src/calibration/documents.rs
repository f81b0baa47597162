//! What calibration counts, document by document.

use rayon::prelude::*;
use tributary_model::mix;

use super::class_wise::ClassSums;
use super::report::{Calibration, jackknife};
use super::sums::{CalibrationSums, Gaps};
use crate::measure::CalibrationWanted;
use crate::prediction::Prediction;

/// Draws of the bootstrap.
const DRAWS: usize = 1000;
/// Draws that lie outside at each end, for a 95 % interval.
const TAIL: usize = DRAWS / 40;

/// The sums of every document, which errors and intervals are made from.
#[derive(Clone, Debug)]
pub(crate) struct DocumentSums {
    wanted: CalibrationWanted,
    classes: usize,
    documents: Vec<CalibrationSums>,
    class_wise: Option<ClassSums>,
}

impl DocumentSums {
    pub(crate) fn new(wanted: CalibrationWanted, classes: usize, documents: usize) -> DocumentSums {
        let document = CalibrationSums::new(wanted.bins, classes, wanted.logarithmic);
        DocumentSums {
            wanted,
            classes,
            documents: vec![document; documents],
            class_wise: wanted
                .class_wise
                .then(|| ClassSums::new(wanted.bins, classes, documents)),
        }
    }

    /// Counts a position of a document, but for what [`Self::add_masses`] is for.
    pub(crate) fn add(&mut self, document: usize, prediction: &Prediction) {
        self.documents[document].add(prediction);
        if let Some(sums) = &mut self.class_wise {
            sums.add(document, prediction);
        }
    }

    /// What positions give to every token of the vocabulary, which class-wise ECE asks for: `rows`, `[positions, vocabulary]`, hold what
    /// [`predict`](crate::prediction::predict) left, `documents` are those of the positions.
    pub(crate) fn add_masses(&mut self, documents: &[usize], rows: &[f32], predictions: &[Prediction]) {
        if let Some(sums) = &mut self.class_wise {
            sums.add_masses(documents, rows, predictions);
        }
    }

    /// What it comes to, with its errors over documents.
    pub(crate) fn finish(self) -> Calibration {
        let documents: Vec<&CalibrationSums> = self
            .documents
            .iter()
            .filter(|document| document.positions() > 0)
            .collect();
        let mut total = CalibrationSums::new(self.wanted.bins, self.classes, self.wanted.logarithmic);
        for document in &documents {
            total.merge(document);
        }
        let mut calibration = total.calibration();
        let (total, documents) = (
            Gaps::of(&total),
            documents.into_iter().map(Gaps::of).collect::<Vec<Gaps>>(),
        );
        let errors_without = |document: &Gaps| {
            let mut others = total.clone();
            others.subtract(document);
            others.errors()
        };
        let without: Vec<[f64; 3]> = documents.iter().map(errors_without).collect();
        let stderr = |at: usize| jackknife(&without.iter().map(|errors| errors[at]).collect::<Vec<f64>>());
        calibration.ece_stderr = stderr(0);
        calibration.full_ece_stderr = stderr(1);
        calibration.full_ece_log_stderr = calibration.full_ece_log.and_then(|_| stderr(2));
        if documents.len() > 1 {
            let draw = |number: usize| drawn(&documents, number);
            let draws: Vec<[f64; 3]> = (0..DRAWS).into_par_iter().map(draw).collect();
            let interval = |value: f64, most: f64, at: usize| {
                interval(value, most, draws.iter().map(|errors| errors[at]))
            };
            calibration.ece_interval = Some(interval(calibration.ece, 1.0, 0));
            calibration.full_ece_interval = Some(interval(calibration.full_ece, 2.0, 1));
            calibration.full_ece_log_interval = calibration.full_ece_log.map(|value| interval(value, 2.0, 2));
        }
        if let Some(sums) = &self.class_wise {
            let (value, stderr) = sums.error();
            calibration.class_wise_ece = Some(value);
            calibration.class_wise_ece_stderr = stderr;
        }
        calibration
    }
}

/// ECE and both Full-ECEs of as many documents drawn with replacement; the same for the same `number`.
fn drawn(documents: &[Gaps], number: usize) -> [f64; 3] {
    let start = mix(number as u64);
    let place = |draw: u64| (u128::from(mix(start.wrapping_add(draw))) * documents.len() as u128) >> 64;
    let mut gaps = documents[place(0) as usize].clone();
    for draw in 1..documents.len() as u64 {
        gaps.add(&documents[place(draw) as usize]);
    }
    gaps.errors()
}

/// The basic bootstrap interval (Davison and Hinkley 1997, §5.2.1): draws lie above the value since absolute values grow with noise, as the
/// value itself lies above what it estimates, so their distances are turned around; within 0 and `most`.
fn interval(value: f64, most: f64, draws: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut draws: Vec<f64> = draws.collect();
    draws.sort_by(f64::total_cmp);
    [DRAWS - TAIL, TAIL - 1].map(|at| (2.0 * value - draws[at]).clamp(0.0, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::log_row;
    use crate::prediction::predict;

    /// Documents of ten tokens each, whose model is always equally sure of the first of four tokens, and right three to five times; where
    /// it is wrong, the second comes.
    fn sums(documents: usize) -> DocumentSums {
        let wanted = CalibrationWanted {
            bins: 10,
            class_wise: true,
            logarithmic: true,
        };
        let mut sums = DocumentSums::new(wanted, 4, documents);
        for document in 0..documents {
            for position in 0..10 {
                let mut row = [2.0f32, 0.0, 0.0, 0.0];
                let right = position < 3 + (mix(document as u64) % 3) as usize;
                let target = usize::from(!right);
                let mut prediction = predict(&mut row, target, CalibrationSums::least(10));
                prediction.by_factors = Some(Box::new(log_row(&row, prediction.scale, target)));
                sums.add_masses(&[document], &row, std::slice::from_ref(&prediction));
                sums.add(document, &prediction);
            }
        }
        sums
    }

    #[test]
    fn intervals_are_as_wide_as_the_standard_errors_say() {
        let found = sums(300).finish();
        for (value, stderr, interval) in [
            (found.ece, found.ece_stderr, found.ece_interval),
            (found.full_ece, found.full_ece_stderr, found.full_ece_interval),
            (
                found.full_ece_log.unwrap(),
                found.full_ece_log_stderr,
                found.full_ece_log_interval,
            ),
        ] {
            let ([low, high], stderr) = (interval.unwrap(), stderr.unwrap());
            assert!(low < value && value < high, "{low} {value} {high}");
            let ratio = (high - low) / (2.0 * 1.96 * stderr);
            assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        }
        // Of one kind of prediction both are the same sums, but for how many tokens share a bin: so are their relative errors.
        let (class_wise, stderr) = (
            found.class_wise_ece.unwrap(),
            found.class_wise_ece_stderr.unwrap(),
        );
        let ratio = found.full_ece_stderr.unwrap() / found.full_ece * class_wise / stderr;
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_single_document_has_no_error() {
        let found = sums(1).finish();
        assert_eq!(found.ece_stderr, None);
        assert_eq!(found.full_ece_interval, None);
        assert_eq!(found.class_wise_ece_stderr, None);
        assert!(found.class_wise_ece.unwrap() > 0.0);
    }
}
