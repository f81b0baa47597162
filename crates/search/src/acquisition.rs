//! What a point promises, given what the process believes of it; in standardised scores, to be maximised.

use serde::{Deserialize, Serialize};

use crate::gaussian::Posterior;

/// How much better than the best a point must be to count.
const MARGIN: f64 = 0.01;
/// Standard deviations of the upper bound: 97.5 %.
const KAPPA: f64 = 1.96;

/// A rule for the next point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acquisition {
    /// Expected improvement (Mockus 1975): (μ − f⁺ − ξ)·Φ(z) + σ·φ(z), z = (μ − f⁺ − ξ)/σ, ξ = 0.01.
    ExpectedImprovement,
    /// Probability of improvement (Kushner 1964): Φ(z).
    ProbabilityOfImprovement,
    /// Upper confidence bound (Srinivas et al. 2010): μ + 1.96·σ.
    UpperConfidenceBound,
}

impl Acquisition {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::ExpectedImprovement,
        Self::ProbabilityOfImprovement,
        Self::UpperConfidenceBound,
    ];

    /// The promise of a point, `best` being the best score so far.
    pub(crate) fn of(self, posterior: Posterior, best: f64) -> f64 {
        let Posterior { mean, deviation } = posterior;
        let gain = mean - best - MARGIN;
        match self {
            Self::ExpectedImprovement => expected(gain, deviation),
            Self::ProbabilityOfImprovement if deviation > 0.0 => cumulative(gain / deviation),
            Self::ProbabilityOfImprovement => f64::from(u8::from(gain > 0.0)),
            Self::UpperConfidenceBound => mean + KAPPA * deviation,
        }
    }
}

/// Expected improvement by any amount, without the margin.
pub(crate) fn expected_improvement(posterior: Posterior, best: f64) -> f64 {
    expected(posterior.mean - best, posterior.deviation)
}

fn expected(gain: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return gain.max(0.0);
    }
    let z = gain / deviation;
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (gain * cumulative(z) + deviation * density).max(0.0)
}

/// Φ, the normal distribution function.
fn cumulative(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn improvement_is_what_integration_gives() {
        for (gain, deviation) in [(0.3, 0.5), (-1.0, 0.7), (0.0, 1.0), (2.0, 0.1)] {
            // ∫ max(0, gain + deviation·t) φ(t) dt
            let step = 1e-3;
            let integral: f64 = (-8000..8000)
                .map(|at| {
                    let t = (at as f64 + 0.5) * step;
                    let density = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
                    (gain + deviation * t).max(0.0) * density * step
                })
                .sum();
            assert!(
                (expected(gain, deviation) - integral).abs() < 1e-6,
                "{gain} {deviation}"
            );
        }
        assert_eq!(expected(0.5, 0.0), 0.5);
        assert_eq!(expected(-0.5, 0.0), 0.0);
    }

    #[test]
    fn probabilities_are_known_values() {
        assert!((cumulative(1.96) - 0.975_002_104_851_780).abs() < 1e-12);
        assert!((cumulative(-3.0) - 0.001_349_898_031_630_095).abs() < 1e-15);
    }
}
