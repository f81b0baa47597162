//! An interval for the difference of two models on the same documents, by drawing the documents again.

use serde::{Deserialize, Serialize};
use tributary_model::mix;

use crate::likelihood::{DocumentScore, paired_difference};

/// Draws of the bootstrap.
const DRAWS: usize = 10_000;
/// Share of the draws that lies outside at each end, for a 95 % interval.
const TAIL: f64 = 0.025;

/// What SplitMix64 goes on by from number to number.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A difference of mean negative log-likelihoods, nats a token, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The difference.
    pub value: f64,
    /// Its 2.5 % quantile under the bootstrap.
    pub low: f64,
    /// Its 97.5 % quantile.
    pub high: f64,
}

impl Interval {
    /// Is the difference one that other documents might undo?
    pub fn includes_zero(&self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// First minus second by document, with the percentile interval of a paired bootstrap over documents (Efron and Tibshirani 1993,
/// §13.3): 10,000 draws of as many documents, each time Σ differences / Σ tokens. None unless both scored the same tokens of the
/// same documents, or if fewer than two documents were scored. The same for the same `seed`.
pub fn bootstrap_difference(
    first: &[DocumentScore],
    second: &[DocumentScore],
    seed: u64,
) -> Option<Interval> {
    let value = paired_difference(first, second)?.nll;
    let differences: Vec<(f64, u64)> = first
        .iter()
        .zip(second)
        .filter(|(a, _)| a.tokens > 0)
        .map(|(a, b)| (a.nll - b.nll, a.tokens))
        .collect();
    if differences.len() < 2 {
        return None;
    }
    let mut state = seed;
    let mut draw = || {
        let (mut sum, mut tokens) = (0.0, 0);
        for _ in 0..differences.len() {
            let at = (u128::from(mix(state)) * differences.len() as u128) >> 64;
            state = state.wrapping_add(STEP);
            let (difference, count) = differences[at as usize];
            sum += difference;
            tokens += count;
        }
        sum / tokens as f64
    };
    let mut draws: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
    draws.sort_by(f64::total_cmp);
    let quantile = |share: f64| draws[((share * DRAWS as f64) as usize).min(DRAWS - 1)];
    Some(Interval {
        value,
        low: quantile(TAIL),
        high: quantile(1.0 - TAIL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: impl Iterator<Item = (u64, f64)>) -> Vec<DocumentScore> {
        let score = |(number, (tokens, nll)): (usize, (u64, f64))| DocumentScore {
            id: number.to_string(),
            tokens,
            nll,
            correct: Vec::new(),
        };
        values.enumerate().map(score).collect()
    }

    #[test]
    fn the_interval_is_as_wide_as_the_error_says() {
        let tokens = |at: u64| 20 + at % 7;
        // Differences of about −0.1 nats a token, with a spread.
        let first = scores((0..200).map(|at| (tokens(at), 3.0 * tokens(at) as f64)));
        let other = |at: u64| (3.1 + 0.3 * ((at * 37 % 101) as f64 / 100.0 - 0.5)) * tokens(at) as f64;
        let second = scores((0..200).map(|at| (tokens(at), other(at))));
        let found = bootstrap_difference(&first, &second, 1).unwrap();
        let error = paired_difference(&first, &second).unwrap().stderr.unwrap();
        let width = found.high - found.low;
        assert!(
            (width / (2.0 * 1.96 * error) - 1.0).abs() < 0.05,
            "{found:?} {error}"
        );
        assert!(!found.includes_zero() && found.value < 0.0);
        assert_eq!(found, bootstrap_difference(&first, &second, 1).unwrap());
        assert!(bootstrap_difference(&first, &first, 1).unwrap().includes_zero());
        assert_eq!(bootstrap_difference(&first[..1], &second[..1], 1), None);
        assert_eq!(bootstrap_difference(&first, &second[..9], 1), None);
    }
}
