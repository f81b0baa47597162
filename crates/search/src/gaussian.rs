//! A Gaussian process with a Matérn kernel of smoothness 5/2, its length scale and noise chosen by marginal likelihood.
//!
//! K = s²·(M(|x − x'|/ℓ) + g²·I) over standardised scores; s² in closed form, ℓ and g from a grid, so a fit is exact, small and
//! the same everywhere (Rasmussen and Williams 2006, *Gaussian Processes for Machine Learning*, eq. 2.23–2.30, 4.17 and 5.8). A weak prior
//! on ℓ keeps three points of a curve from being taken for noise, which the likelihood alone prefers there.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use crate::error::{Result, SearchError};

/// Length scales tried, in units of the space.
const LENGTHS: (f64, f64, usize) = (0.03, 3.0, 24);
/// Noise tried, as a share of the scale s.
const NOISES: (f64, f64, usize) = (1e-3, 1.0, 16);

/// The prior of ln ℓ: normal about this length, with deviation 1.
const USUAL_LENGTH: f64 = 0.7;

/// A fitted process.
#[derive(Clone, Debug)]
pub struct GaussianProcess {
    points: Vec<Vec<f64>>,
    /// Mean and standard deviation of the scores.
    mean: f64,
    deviation: f64,
    length: f64,
    noise: f64,
    /// s², of standardised scores.
    scale: f64,
    factor: Cholesky<f64, Dyn>,
    /// (M + g²I)⁻¹ y.
    weights: DVector<f64>,
}

/// What the process believes of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Expected score.
    pub mean: f64,
    /// Its standard deviation, without the noise of a measurement.
    pub deviation: f64,
}

impl GaussianProcess {
    /// Fits scores at points.
    ///
    /// # Errors
    /// [`SearchError::Input`] unless there are as many scores as points, at least one, and points of one length;
    /// [`SearchError::NotFinite`].
    pub fn fit(points: &[Vec<f64>], scores: &[f64]) -> Result<Self> {
        let dimensions = points.first().map_or(0, Vec::len);
        if points.is_empty()
            || points.len() != scores.len()
            || points.iter().any(|point| point.len() != dimensions)
        {
            let message = format!(
                "{} points and {} scores cannot be fitted",
                points.len(),
                scores.len()
            );
            return Err(SearchError::Input(message));
        }
        if let Some(number) = scores.iter().position(|score| !score.is_finite()) {
            let value = scores[number];
            return Err(SearchError::NotFinite { number, value });
        }
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
        // Equal scores say nothing about a scale.
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let standardised = DVector::from_iterator(
            scores.len(),
            scores.iter().map(|score| (score - mean) / deviation),
        );
        let mut best: Option<(f64, Self)> = None;
        for length in grid(LENGTHS) {
            let correlations = DMatrix::from_fn(points.len(), points.len(), |a, b| {
                matern(distance(&points[a], &points[b]) / length)
            });
            for noise in grid(NOISES) {
                let mut matrix = correlations.clone();
                for at in 0..points.len() {
                    matrix[(at, at)] += noise * noise;
                }
                let Some(factor) = Cholesky::new(matrix) else {
                    continue;
                };
                let weights = factor.solve(&standardised);
                let scale = (standardised.dot(&weights) / count).max(f64::MIN_POSITIVE);
                let log_determinant = 2.0 * factor.l_dirty().diagonal().map(f64::ln).sum();
                let likelihood = -0.5 * (count * scale.ln() + log_determinant);
                let posterior = likelihood - 0.5 * (length / USUAL_LENGTH).ln().powi(2);
                if best.as_ref().is_none_or(|(most, _)| posterior > *most) {
                    let process = Self {
                        points: points.to_vec(),
                        mean,
                        deviation,
                        length,
                        noise,
                        scale: if variance > 0.0 { scale } else { 0.0 },
                        factor,
                        weights,
                    };
                    best = Some((posterior, process));
                }
            }
        }
        let none = || SearchError::Input("no length scale fits the points".to_owned());
        best.map(|(_, process)| process).ok_or_else(none)
    }

    /// What is believed of `point`.
    pub fn at(&self, point: &[f64]) -> Posterior {
        let standardised = self.standardised(point);
        Posterior {
            mean: self.mean + self.deviation * standardised.mean,
            deviation: self.deviation * standardised.deviation,
        }
    }

    /// The same in units of the scores' standard deviation, from their mean.
    pub(crate) fn standardised(&self, point: &[f64]) -> Posterior {
        let near = DVector::from_iterator(
            self.points.len(),
            self.points
                .iter()
                .map(|other| matern(distance(point, other) / self.length)),
        );
        let known = near.dot(&self.factor.solve(&near));
        Posterior {
            mean: near.dot(&self.weights),
            deviation: (self.scale * (1.0 - known)).max(0.0).sqrt(),
        }
    }

    /// A score in those units.
    pub(crate) fn standardise(&self, score: f64) -> f64 {
        (score - self.mean) / self.deviation
    }

    /// One of those units.
    pub(crate) fn unit(&self) -> f64 {
        self.deviation
    }

    /// The length scale, and the noise as a share of the scale.
    pub fn hyperparameters(&self) -> (f64, f64) {
        (self.length, self.noise)
    }
}

fn grid((low, high, count): (f64, f64, usize)) -> impl Iterator<Item = f64> {
    let (low, high) = (low.ln(), high.ln());
    (0..count).map(move |at| (low + (high - low) * at as f64 / (count - 1) as f64).exp())
}

pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Correlation at a distance of so many length scales.
fn matern(distance: f64) -> f64 {
    let r = 5f64.sqrt() * distance;
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_near_what_it_was_told_and_is_unsure_elsewhere() {
        let points: Vec<Vec<f64>> = [0.0, 0.3, 0.6, 1.0].iter().map(|x| vec![*x]).collect();
        let scores: Vec<f64> = points.iter().map(|x| -(x[0] - 0.7f64).powi(2) - 3.0).collect();
        let process = GaussianProcess::fit(&points, &scores).unwrap();
        for (point, score) in points.iter().zip(&scores) {
            let found = process.at(point);
            assert!((found.mean - score).abs() < 1e-3, "{found:?} {score}");
            assert!(found.deviation < 2e-3, "{found:?}");
        }
        let far = process.at(&[3.0]);
        assert!(far.deviation > 3.0 * process.at(&[0.45]).deviation, "{far:?}");
    }

    /// numpy's answers, by the formulas with explicit inverses (`tests/reference/gaussian.py`).
    #[test]
    fn the_posterior_is_that_of_dense_algebra() {
        let points: Vec<Vec<f64>> = [0.0, 0.15, 0.4, 0.55, 0.8, 1.0]
            .iter()
            .map(|x| vec![*x])
            .collect();
        let scores: Vec<f64> = points.iter().map(|x| (3.0 * x[0]).sin() - 2.0).collect();
        let process = GaussianProcess::fit(&points, &scores).unwrap();
        for (x, mean, deviation) in GOLDEN {
            let found = process.at(&[x]);
            assert!((found.mean - mean).abs() < 1e-8, "{found:?} {mean}");
            assert!(
                (found.deviation - deviation).abs() < 1e-8,
                "{found:?} {deviation}"
            );
        }
    }

    const GOLDEN: [(f64, f64, f64); 3] = [
        (0.05, -1.85266615206323, 0.008258906080151184),
        (0.5, -1.0031861583530097, 0.0057147781772303756),
        (0.93, -1.6608721246454592, 0.014576391030847426),
    ];

    #[test]
    fn equal_scores_are_certain() {
        let points = vec![vec![0.0], vec![0.5], vec![1.0]];
        let process = GaussianProcess::fit(&points, &[2.0; 3]).unwrap();
        let found = process.at(&[0.25]);
        assert_eq!((found.mean, found.deviation), (2.0, 0.0));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert!(GaussianProcess::fit(&[], &[]).is_err());
        assert!(GaussianProcess::fit(&[vec![0.0]], &[]).is_err());
        assert!(GaussianProcess::fit(&[vec![0.0], vec![0.0, 1.0]], &[1.0, 2.0]).is_err());
        let error = GaussianProcess::fit(&[vec![0.0]], &[f64::NAN]).unwrap_err();
        assert!(
            matches!(error, SearchError::NotFinite { number: 0, .. }),
            "{error}"
        );
    }
}
