//! MetaGPT's coefficients, for itself and as the weights of other methods.
//!
//! With task vectors τₜ and weights wₜ = ‖τₜ‖² the bound on the average loss difference is Σ wₜ‖τ − τₜ‖² up to a constant
//! (arXiv 2406.11385, equations 9 to 14). Its minimum over all τ is the mean pₜ = wₜ / Σₖwₖ (equation 15), whatever the
//! angles between the task vectors. Under constraints (no coefficient above `cap`, at most `keep` models) it is the λ with
//! the least (λ − p)ᵀG(λ − p), G the Gram matrix of the task vectors: the constrained form that needs the angles
//! (specification 1g.3).
//!
//! `dose: recorded` takes wₜ = δₜ²‖τₜ‖² with 1/δₜ the dose that training recorded, instead of one δ for all models
//! (specification 1g.2): ‖τₜ‖ grows with the length of the training, δₜ‖τₜ‖ does not.

use super::{Settings, Statistics, TensorPlace, normalise};
use crate::statistics::Gram;

/// The words that stand for weights by MetaGPT, over the whole model, a layer or a tensor.
pub(super) const WORDS: &[&str] = &["metagpt", "metagpt_layer", "metagpt_tensor"];

/// Over what norms are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Model,
    Layer,
    Tensor,
}

impl Extent {
    /// The extent that one of [`WORDS`] means.
    pub(super) fn from_word(word: &str) -> Extent {
        match word {
            "metagpt_layer" => Extent::Layer,
            "metagpt_tensor" => Extent::Tensor,
            _ => Extent::Model,
        }
    }
}

/// What the coefficients may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// The largest coefficient.
    pub(super) cap: f64,
    /// How many models may have one.
    pub(super) keep: usize,
}

/// The coefficients at one tensor; `None` if no model differs from the base there.
pub(super) fn shares(
    settings: &Settings<'_>,
    statistics: &Statistics,
    tensor: &TensorPlace,
    extent: Extent,
    limits: Option<Limits>,
) -> Result<Option<Vec<f64>>, String> {
    let gram = match (statistics, extent) {
        (Statistics::Gram(gram), Extent::Model) => Some(gram.all()),
        (Statistics::Gram(gram), Extent::Layer) => gram.layer(tensor),
        (Statistics::Gram(gram), Extent::Tensor) => gram.tensor(tensor),
        _ => None,
    };
    let squares = match (gram, statistics, extent) {
        (Some(gram), ..) => gram.squared_norms(),
        (None, Statistics::RecordedNorms(squares), Extent::Model) => squares.clone(),
        (None, Statistics::RecordedNorms(_), _) => {
            return Err("norms over a layer or a tensor need norms: read".to_string());
        }
        _ => return Err("the norms of the task vectors are not known".to_string()),
    };
    let weights = match settings.doses()? {
        Some(doses) => squares
            .iter()
            .zip(&doses)
            .map(|(square, dose)| square / (dose * dose))
            .collect(),
        None => squares,
    };
    let Some(shares) = normalise(&weights) else {
        return Ok(None);
    };
    match (limits, gram) {
        (None, _) => Ok(Some(shares)),
        (Some(limits), Some(gram)) => Ok(Some(within(&shares, gram, limits))),
        (Some(_), None) => {
            Err("\"cap\" and \"keep\" need the angles between the models, so norms: read".to_string())
        }
    }
}

/// Most models of which every choice is tried; of more the least useful one is dropped, one after the other.
const TRIED: usize = 12;

/// The λ nearest to `shares` in the norm of the task vectors, with 0 ≤ λ ≤ cap and at most `keep` of them not zero.
fn within(shares: &[f64], gram: &Gram, limits: Limits) -> Vec<f64> {
    let models = shares.len();
    let mut chosen = vec![true; models];
    let nearest = |chosen: &[bool]| {
        let lambda = boxed(shares, gram, limits.cap, chosen);
        (distance(&lambda, shares, gram), lambda)
    };
    if limits.keep >= models {
        return nearest(&chosen).1;
    }
    if models <= TRIED {
        let choices = (0u32..1 << models).filter(|bits| bits.count_ones() as usize == limits.keep);
        let of = |bits: u32| {
            nearest(
                &(0..models)
                    .map(|model| bits >> model & 1 == 1)
                    .collect::<Vec<_>>(),
            )
        };
        let best = choices.map(of).min_by(|a, b| a.0.total_cmp(&b.0));
        return best.map_or_else(|| vec![0.0; models], |(_, lambda)| lambda);
    }
    while chosen.iter().filter(|is_chosen| **is_chosen).count() > limits.keep {
        let without = |model: usize| {
            let mut fewer = chosen.clone();
            fewer[model] = false;
            (nearest(&fewer).0, model)
        };
        let candidates = (0..models).filter(|model| chosen[*model]).map(without);
        let Some((_, least)) = candidates.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            break;
        };
        chosen[least] = false;
    }
    nearest(&chosen).1
}

/// (λ − p)ᵀG(λ − p).
fn distance(lambda: &[f64], shares: &[f64], gram: &Gram) -> f64 {
    let differences: Vec<f64> = lambda
        .iter()
        .zip(shares)
        .map(|(lambda, share)| lambda - share)
        .collect();
    let models = differences.len();
    let row = |t: usize| (0..models).map(|u| gram.get(t, u) * differences[u]).sum::<f64>() * differences[t];
    (0..models).map(row).sum()
}

/// The nearest λ in a box, by coordinate descent: every step is exact, and G is positive semidefinite.
fn boxed(shares: &[f64], gram: &Gram, cap: f64, chosen: &[bool]) -> Vec<f64> {
    let models = shares.len();
    let bound = |value: f64, model: usize| if chosen[model] { value.clamp(0.0, cap) } else { 0.0 };
    let mut lambda: Vec<f64> = shares
        .iter()
        .enumerate()
        .map(|(model, share)| bound(*share, model))
        .collect();
    for _ in 0..10_000 {
        let mut moved = 0.0f64;
        for t in (0..models).filter(|t| chosen[*t] && gram.get(*t, *t) > 0.0) {
            let others: f64 = (0..models)
                .filter(|u| *u != t)
                .map(|u| gram.get(t, u) * (lambda[u] - shares[u]))
                .sum();
            let next = bound(shares[t] - others / gram.get(t, t), t);
            moved = moved.max((next - lambda[t]).abs());
            lambda[t] = next;
        }
        if moved < 1e-15 {
            break;
        }
    }
    lambda
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minimum over a grid, for three models.
    fn grid(shares: &[f64], gram: &Gram, cap: f64) -> f64 {
        let steps = 60;
        let at = |step: usize| cap * step as f64 / steps as f64;
        let mut best = f64::INFINITY;
        for a in 0..=steps {
            for b in 0..=steps {
                for c in 0..=steps {
                    best = best.min(distance(&[at(a), at(b), at(c)], shares, gram));
                }
            }
        }
        best
    }

    #[test]
    fn capped_coefficients_are_the_nearest() {
        // τ = (3, 0, 0), (2, 2, 0), (0, 1, 1).
        let gram = Gram::from_packed(3, vec![9.0, 6.0, 8.0, 0.0, 2.0, 2.0]);
        let shares = normalise(&gram.squared_norms()).unwrap();
        let free = Limits { cap: 1.0, keep: 3 };
        assert_eq!(within(&shares, &gram, free), shares);
        for cap in [0.2, 0.3, 0.4] {
            let lambda = within(&shares, &gram, Limits { cap, keep: 3 });
            assert!(
                lambda.iter().all(|lambda| (0.0..=cap).contains(lambda)),
                "{lambda:?}"
            );
            let (ours, best) = (distance(&lambda, &shares, &gram), grid(&shares, &gram, cap));
            assert!(ours <= best + 1e-9, "{ours} {best}");
        }
        let one = within(&shares, &gram, Limits { cap: 1.0, keep: 1 });
        assert_eq!(one.iter().filter(|lambda| **lambda > 0.0).count(), 1);
    }

    #[test]
    fn dropping_one_of_two_equal_models_gives_its_share_to_the_other() {
        let gram = Gram::from_packed(2, vec![4.0, 4.0, 4.0]);
        let lambda = within(&[0.5, 0.5], &gram, Limits { cap: 1.0, keep: 1 });
        assert!((lambda.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{lambda:?}");
    }
}
