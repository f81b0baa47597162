//! Successive halving over documents: a mixture reads a quarter of the searched documents, then half, then all, and stops where it is
//! clearly worse than the best so far.
//!
//! Both are compared on the same documents, so that a few tell much. A mixture that stops has the likelihood of the best plus the
//! difference on what both read.

use std::ops::Range;

use tributary_evaluate::{DocumentScore, paired_difference};

/// Every so manieth document is read first; then every so manieth; then the rest.
const STRIDES: [usize; 2] = [4, 2];
/// Fewer documents tell nothing: their standard error is too rough.
const LEAST: usize = 30;
/// So many standard errors of the paired difference are clearly worse.
const CLEAR: f64 = 3.0;

/// The order in which so many documents are read, and how many of it after each round.
pub(super) fn order(documents: usize) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut order: Vec<usize> = Vec::with_capacity(documents);
    let mut rounds = Vec::new();
    let is_enough = |stride: &usize| documents / stride >= LEAST;
    let strides: Vec<usize> = STRIDES.into_iter().filter(is_enough).collect();
    for stride in strides.iter().copied().chain([1]) {
        let start = order.len();
        let is_read = |at: usize| {
            strides
                .iter()
                .any(|done| *done > stride && at.is_multiple_of(*done))
        };
        let is_new = |at: &usize| at.is_multiple_of(stride) && !is_read(*at);
        order.extend((0..documents).filter(is_new));
        rounds.push(start..order.len());
    }
    (order, rounds)
}

/// What is expected of a mixture that scored so on some documents, nats a token on all of them, if that is clearly worse than the
/// best, which scored so on the same ones and `best_nll` on all.
pub(super) fn clearly_worse(scores: &[DocumentScore], best: &[DocumentScore], best_nll: f64) -> Option<f64> {
    let difference = paired_difference(scores, best)?;
    let error = difference.stderr?;
    (difference.nll > CLEAR * error).then_some(best_nll + difference.nll)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(of: impl Fn(usize) -> f64) -> Vec<DocumentScore> {
        let score = |at: usize| DocumentScore {
            id: at.to_string(),
            tokens: 10,
            nll: of(at),
            correct: Vec::new(),
        };
        (0..20).map(score).collect()
    }

    #[test]
    fn every_document_is_read_once_a_quarter_first() {
        for count in [0, 1, 2, 5, 100, 120, 123] {
            let (mut order, rounds) = order(count);
            assert_eq!(rounds.iter().map(Range::len).sum::<usize>(), count);
            assert!(rounds.iter().all(|round| round.len() >= LEAST) || rounds.len() == 1);
            if count >= 120 {
                assert!(rounds[0].len().abs_diff(count / 4) <= 1, "{rounds:?}");
                assert!(rounds[0].len() + rounds[1].len() - count / 2 <= 1, "{rounds:?}");
            }
            order.sort_unstable();
            assert!(order.into_iter().eq(0..count));
        }
    }

    #[test]
    fn what_is_clearly_worse_is_estimated_by_the_difference() {
        let best = scores(|at| 30.0 + at as f64);
        // Worse by one nat a document, more or less; documents differ by far more.
        let worse = scores(|at| 31.0 + at as f64 + 0.1 * (at % 3) as f64);
        let estimate = clearly_worse(&worse, &best, 3.5).unwrap();
        assert!((estimate - 3.61).abs() < 0.01, "{estimate}");
        assert_eq!(clearly_worse(&best, &worse, 3.5), None);
        let unclear = scores(|at| 30.1 + at as f64 + if at % 2 == 0 { 2.0 } else { -2.0 });
        assert_eq!(clearly_worse(&unclear, &best, 3.5), None);
    }
}
