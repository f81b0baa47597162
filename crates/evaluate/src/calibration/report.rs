//! What calibration comes to, with its errors over documents.

use serde::{Deserialize, Serialize};

/// One bin of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lowest probability.
    pub from: f64,
    /// The probability at which the next bin begins.
    pub to: f64,
    /// Predictions in it.
    pub predictions: u64,
    /// Σ of their probabilities: how many should come true.
    pub mass: f64,
    /// How many came true.
    pub hits: u64,
}

/// Calibration errors of a model on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// M.
    pub bins: usize,
    /// N: scored positions.
    pub positions: u64,
    /// K: tokens of the vocabulary.
    pub classes: usize,
    /// Expected calibration error of the most probable token, in [0, 1].
    pub ece: f64,
    /// Its standard error, leaving out one document after the other; none for a single document.
    pub ece_stderr: Option<f64>,
    /// Its 95 % interval, documents being drawn again; none for a single document.
    #[serde(default)]
    pub ece_interval: Option<[f64; 2]>,
    /// Class-wise ECE, in [0, 2/K], if asked for.
    pub class_wise_ece: Option<f64>,
    /// Its standard error, leaving out one of twenty groups of documents after the other; none for a single document.
    #[serde(default)]
    pub class_wise_ece_stderr: Option<f64>,
    /// Full-ECE, in [0, 2].
    pub full_ece: f64,
    /// Its standard error, leaving out one document after the other; none for a single document.
    pub full_ece_stderr: Option<f64>,
    /// Its 95 % interval, as above.
    #[serde(default)]
    pub full_ece_interval: Option<[f64; 2]>,
    /// Full-ECE over bins of factors of two from 2⁻²⁰ on, in [0, 2], if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_ece_log: Option<f64>,
    /// Its standard error, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_ece_log_stderr: Option<f64>,
    /// Its 95 % interval, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_ece_log_interval: Option<[f64; 2]>,
    /// The reliability table of the most probable tokens.
    pub top: Vec<Bin>,
    /// The reliability table of all tokens.
    pub full: Vec<Bin>,
    /// That of all tokens by factors of two, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logarithmic: Vec<Bin>,
}

impl Calibration {
    /// Of all positions of several parts of a text: what measuring it in one go gives, but for errors and intervals, which take the documents,
    /// and class-wise ECE, which takes every token's sums. None without a part, or if parts differ in bins or vocabulary.
    pub fn merged(parts: &[Calibration]) -> Option<Calibration> {
        let (first, rest) = parts.split_first()?;
        let like = (first.bins, first.classes, first.logarithmic.len());
        if rest
            .iter()
            .any(|part| (part.bins, part.classes, part.logarithmic.len()) != like)
        {
            return None;
        }
        let mut all = Calibration {
            ece_stderr: None,
            ece_interval: None,
            class_wise_ece_stderr: None,
            full_ece_stderr: None,
            full_ece_interval: None,
            full_ece_log_stderr: None,
            full_ece_log_interval: None,
            class_wise_ece: first.class_wise_ece.filter(|_| rest.is_empty()),
            ..first.clone()
        };
        for part in rest {
            all.positions += part.positions;
            let tables = [
                (&mut all.top, &part.top),
                (&mut all.full, &part.full),
                (&mut all.logarithmic, &part.logarithmic),
            ];
            for (rows, others) in tables {
                for (row, other) in rows.iter_mut().zip(others) {
                    row.predictions += other.predictions;
                    row.mass += other.mass;
                    row.hits += other.hits;
                }
            }
        }
        let error = |rows: &[Bin]| {
            let gaps = rows.iter().map(|row| (row.hits as f64 - row.mass).abs());
            gaps.sum::<f64>() / all.positions.max(1) as f64
        };
        (all.ece, all.full_ece) = (error(&all.top), error(&all.full));
        all.full_ece_log = first.full_ece_log.map(|_| error(&all.logarithmic));
        Some(all)
    }
}

/// The standard error of what gives these values when each sampled unit is left out once (Efron & Stein 1981),
/// `√((n−1)/n · Σ(θ₋ᵢ − θ̄)²)`; the units are documents or groups of them, since the tokens of a document hang together. None for one.
pub(super) fn jackknife(without: &[f64]) -> Option<f64> {
    let count = without.len() as f64;
    let mean = without.iter().sum::<f64>() / count;
    let squares: f64 = without.iter().map(|value| (value - mean).powi(2)).sum();
    (without.len() > 1).then(|| ((count - 1.0) / count * squares).sqrt())
}
