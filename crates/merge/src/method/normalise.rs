//! Weights that sum to one, without depending on the order of the models.

/// Σ of the values, the same bits for any order of them.
pub fn sum_in_any_order(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.iter().sum()
}

/// `weights` divided by their sum; `None` if that is zero or not finite.
///
/// Weights that already sum to one, up to rounding, come back as they are. That makes the function idempotent, so
/// that the λ of a record, given to `linear` as weights, reproduce a `metagpt` merge bit for bit (test T2).
pub fn normalise(weights: &[f64]) -> Option<Vec<f64>> {
    let sum = sum_in_any_order(weights);
    let magnitude: f64 = weights.iter().map(|weight| weight.abs()).fold(0.0, f64::max);
    if !sum.is_finite() || sum.abs() <= 1e-12 * magnitude || sum == 0.0 {
        return None;
    }
    let rounding = 2.0 * f64::EPSILON * weights.len() as f64;
    if (sum - 1.0).abs() <= rounding {
        return Some(weights.to_vec());
    }
    Some(weights.iter().map(|weight| weight / sum).collect())
}

/// (Σ|wₜ|)² / Σwₜ²: how many equally weighted models carry as much (1/Σλ² when Σλ = 1). `None` if all are zero.
pub fn effective_number(weights: &[f64]) -> Option<f64> {
    let sum = sum_in_any_order(&weights.iter().map(|weight| weight.abs()).collect::<Vec<_>>());
    let squares = sum_in_any_order(&weights.iter().map(|weight| weight * weight).collect::<Vec<_>>());
    (squares > 0.0).then(|| sum * sum / squares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_that_cancel_have_no_mean() {
        assert_eq!(normalise(&[1.0, -1.0]), None);
        assert_eq!(normalise(&[0.1, 0.2, -0.3]), None);
        assert_eq!(normalise(&[0.0, 0.0]), None);
        assert_eq!(normalise(&[f64::NAN]), None);
        assert_eq!(normalise(&[9.0, 16.0]), Some(vec![0.36, 0.64]));
        assert_eq!(normalise(&[2.0, -1.0, 1.0]), Some(vec![1.0, -0.5, 0.5]));
    }

    #[test]
    fn effective_number_of_models() {
        assert_eq!(effective_number(&[0.25; 4]), Some(4.0));
        assert_eq!(effective_number(&[1.0, 0.0]), Some(1.0));
        assert_eq!(effective_number(&[0.0]), None);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(weights in proptest::collection::vec(1e-6f64..1e6, 1..40)) {
            let once = normalise(&weights).unwrap();
            prop_assert_eq!(normalise(&once).unwrap(), once.clone());
            prop_assert!((once.iter().sum::<f64>() - 1.0).abs() <= 1e-12);
            let mut reversed: Vec<f64> = weights.clone();
            reversed.reverse();
            let mut back = normalise(&reversed).unwrap();
            back.reverse();
            prop_assert_eq!(back, once);
        }
    }
}
