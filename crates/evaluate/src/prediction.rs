//! What one prediction says: the softmax of a row of logits, as far as the metrics ask.

use tributary_model::kernel::cpu::simd::{exp, max, sum, vectorised};

use crate::calibration::LogRow;

/// Partial sums in `f64`.
const LANES: usize = 8;

/// One prediction of the next token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prediction {
    /// The token that came.
    pub(crate) target: usize,
    /// Its negative log-likelihood, nats; on the CPU the same bits that a likelihood alone gives.
    pub(crate) nll: f32,
    /// How many tokens are more probable; of equal ones those with lower ids count as more.
    pub(crate) rank: usize,
    /// The probability of the token that came.
    pub(crate) p_target: f64,
    /// The highest probability.
    pub(crate) p_max: f64,
    /// Tokens with at least the probability asked for, by id.
    pub(crate) probable: Vec<(usize, f64)>,
    /// `1/Σ eˡ⁻ᵐᵃˣ`, which makes probabilities of what [`predict`] leaves in the row.
    pub(crate) scale: f64,
    /// What the row adds to bins of factors of two, where they are asked for.
    pub(crate) by_factors: Option<Box<LogRow>>,
}

/// Reads a row of logits, `[vocabulary]`, and leaves `eˡ⁻ᵐᵃˣ` in it. Tokens of probability `least` or more are listed.
///
/// The probabilities are those of the `f64` softmax of the `f32` logits, to 1e-7 of the mass of the tokens not listed.
pub(crate) fn predict(logits: &mut [f32], target: usize, least: f64) -> Prediction {
    vectorised(
        #[inline(always)]
        || read(logits, target, least),
    )
}

#[inline(always)]
fn read(logits: &mut [f32], target: usize, least: f64) -> Prediction {
    let chosen = logits[target];
    let peak = max(logits);
    let (above, equal) = (
        count_above(logits, chosen),
        count_equal(&logits[..target], chosen),
    );
    // The sum is at least 1, the peak's own term: nothing below this can have the probability asked for.
    let edge = peak + (least.ln() as f32) - 1e-3;
    let mut probable = candidates(logits, edge);
    for logit in logits.iter_mut() {
        *logit = exp(*logit - peak);
    }
    let nll = peak + sum(logits).ln() - chosen;
    // Terms that matter are exact: those of the listed tokens are taken anew in `f64`.
    let mut total = sum_f64(logits);
    for (token, value) in &mut probable {
        let exact = (*value - f64::from(peak)).exp();
        total += exact - f64::from(logits[*token]);
        *value = exact;
    }
    for (_, value) in &mut probable {
        *value /= total;
    }
    probable.retain(|(_, p)| *p >= least);
    Prediction {
        target,
        nll,
        rank: above + equal,
        p_target: (f64::from(chosen) - f64::from(peak)).exp() / total,
        p_max: 1.0 / total,
        probable,
        scale: 1.0 / total,
        by_factors: None,
    }
}

#[inline(always)]
fn count_above(logits: &[f32], than: f32) -> usize {
    let count: u32 = logits.iter().map(|logit| u32::from(*logit > than)).sum();
    count as usize
}

#[inline(always)]
fn count_equal(logits: &[f32], to: f32) -> usize {
    let count: u32 = logits.iter().map(|logit| u32::from(*logit == to)).sum();
    count as usize
}

/// Places and values of the logits from `edge` on. Most stretches have none, which one vectorised count tells.
#[inline(always)]
fn candidates(logits: &[f32], edge: f32) -> Vec<(usize, f64)> {
    const STRETCH: usize = 256;
    let mut found = Vec::new();
    for (number, stretch) in logits.chunks(STRETCH).enumerate() {
        let count: u32 = stretch.iter().map(|logit| u32::from(*logit >= edge)).sum();
        if count > 0 {
            let places = stretch.iter().enumerate().filter(|(_, logit)| **logit >= edge);
            found.extend(places.map(|(at, logit)| (number * STRETCH + at, f64::from(*logit))));
        }
    }
    found
}

#[inline(always)]
fn sum_f64(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += f64::from(*value);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_is_the_softmax_by_definition() {
        let logits: Vec<f32> = (0..1000)
            .map(|at| ((at * 7919) % 1009) as f32 / 90.0 - 3.0)
            .collect();
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let p = |token: usize| f64::from(logits[token]).exp() / total;
        for target in [0, 17, 500, 999] {
            let mut row = logits.clone();
            let prediction = predict(&mut row, target, 0.002);
            assert!((prediction.p_target - p(target)).abs() < 1e-12);
            assert!((f64::from(prediction.nll) + p(target).ln()).abs() < 1e-5);
            let rank = logits.iter().enumerate().filter(|(at, logit)| {
                **logit > logits[target] || (**logit == logits[target] && *at < target)
            });
            assert_eq!(prediction.rank, rank.count());
            let probable: Vec<usize> = (0..1000).filter(|token| p(*token) >= 0.002).collect();
            assert_eq!(
                prediction
                    .probable
                    .iter()
                    .map(|(token, _)| *token)
                    .collect::<Vec<_>>(),
                probable
            );
            for (token, value) in &prediction.probable {
                assert!((value - p(*token)).abs() < 1e-12);
            }
            assert!((f64::from(row[3]) * prediction.scale - p(3)).abs() < 1e-9);
        }
    }

    #[test]
    fn of_equal_logits_the_lower_id_goes_first() {
        let ranks: Vec<usize> = (0..4)
            .map(|target| predict(&mut [1.0, 2.0, 2.0, 1.0], target, 0.1).rank)
            .collect();
        assert_eq!(ranks, [2, 0, 1, 3]);
        assert_eq!(predict(&mut [0.0; 4], 0, 0.25).probable.len(), 4);
    }
}
