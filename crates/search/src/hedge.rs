//! GP-Hedge (Hoffman, Brochu and de Freitas 2011, *Portfolio Allocation for Bayesian Optimization*, algorithm 2): each rule nominates
//! a point; one is taken with probability ∝ exp(η·gain), and every rule gains what the next fit expects of its nominee.

use crate::chance::Chance;

/// The learning rate, for gains in standardised scores.
const ETA: f64 = 1.0;

/// Which rule is followed next.
pub(crate) fn choose(gains: &[f64], chance: &mut Chance) -> usize {
    let most = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = gains.iter().map(|gain| (ETA * (gain - most)).exp()).collect();
    let mut left = chance.uniform() * shares.iter().sum::<f64>();
    for (number, share) in shares.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return number;
        }
    }
    gains.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_followed_as_often_as_their_gains_say() {
        let gains = [0.0, 1.0, -1.0];
        let mut counts = [0.0; 3];
        let rounds = 20_000;
        for round in 0..rounds {
            counts[choose(&gains, &mut Chance::new(3, round))] += 1.0 / rounds as f64;
        }
        let total: f64 = gains.iter().map(|gain: &f64| gain.exp()).sum();
        for (count, gain) in counts.iter().zip(&gains) {
            assert!((count - gain.exp() / total).abs() < 0.015, "{counts:?}");
        }
    }
}
