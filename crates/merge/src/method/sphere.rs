//! Interpolation on spheres, in the coordinates of the inputs.
//!
//! Every point that slerp, nuslerp, multislerp and karcher pass through is a linear combination of their inputs, so the inner
//! products of the inputs say all there is to know about angles and lengths, and the result is one weighted sum of the inputs.

use crate::statistics::Gram;

/// Below this angle's sine, or above this cosine, two directions count as one: see the methods.
pub(super) enum Parallel {
    /// |cos θ| above.
    Cosine(f64),
    /// sin θ below.
    Sine(f64),
}

/// Coefficients of v₀ and v₁ in slerp(t; v₀, v₁) = [sin((1−t)θ)·v₀ + sin(tθ)·v₁] / sin θ, θ being their angle; where they are
/// parallel (or one is zero) those of (1−t)·v₀ + t·v₁.
pub(super) fn slerp(gram: &Gram, t: f64, parallel: &Parallel) -> [f64; 2] {
    let norms = (gram.get(0, 0) * gram.get(1, 1)).sqrt();
    let cosine = (gram.get(0, 1) / norms).clamp(-1.0, 1.0);
    let angle = cosine.acos();
    let sine = angle.sin();
    let is_parallel = match parallel {
        Parallel::Cosine(limit) => cosine.abs() > *limit,
        Parallel::Sine(limit) => sine < *limit,
    };
    if norms.is_nan() || norms == 0.0 || is_parallel {
        return [1.0 - t, t];
    }
    [((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine]
}

/// A vector as a combination of the inputs.
#[derive(Clone, Debug)]
pub(super) struct Point(pub(super) Vec<f64>);

impl Point {
    /// The direction of input `index`; zero if the input is.
    pub(super) fn unit(gram: &Gram, index: usize) -> Point {
        let norm = gram.get(index, index).sqrt();
        let mut coordinates = vec![0.0; gram.models()];
        if norm > 0.0 {
            coordinates[index] = 1.0 / norm;
        }
        Point(coordinates)
    }

    pub(super) fn zero(gram: &Gram) -> Point {
        Point(vec![0.0; gram.models()])
    }

    pub(super) fn add(&mut self, factor: f64, other: &Point) {
        for (sum, value) in self.0.iter_mut().zip(&other.0) {
            *sum += factor * value;
        }
    }

    pub(super) fn scale(&mut self, factor: f64) {
        self.0.iter_mut().for_each(|value| *value *= factor);
    }

    pub(super) fn dot(&self, other: &Point, gram: &Gram) -> f64 {
        let mut sum = 0.0;
        for (t, left) in self.0.iter().enumerate() {
            for (u, right) in other.0.iter().enumerate() {
                sum += left * right * gram.get(t, u);
            }
        }
        sum
    }

    pub(super) fn norm(&self, gram: &Gram) -> f64 {
        self.dot(self, gram).max(0.0).sqrt()
    }

    /// exp_μ(v) = cos‖v‖·μ + sin‖v‖·v/‖v‖ for a unit vector μ and a tangent v.
    pub(super) fn walk(&self, tangent: &Point, gram: &Gram) -> Point {
        let length = tangent.norm(gram);
        let mut point = self.clone();
        if length > 0.0 {
            point.scale(length.cos());
            point.add(length.sin() / length, tangent);
        }
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn() {
        let gram = Gram::from_packed(2, vec![1.0, 0.0, 1.0]);
        let half = 0.5f64.sqrt();
        for (t, expected) in [(0.0, [1.0, 0.0]), (0.5, [half, half]), (1.0, [0.0, 1.0])] {
            let found = slerp(&gram, t, &Parallel::Cosine(0.9995));
            assert!(
                (found[0] - expected[0]).abs() < 1e-15 && (found[1] - expected[1]).abs() < 1e-15,
                "{found:?}"
            );
        }
        let parallel = Gram::from_packed(2, vec![1.0, 2.0, 4.0]);
        assert_eq!(slerp(&parallel, 0.25, &Parallel::Cosine(0.9995)), [0.75, 0.25]);
        let zero = Gram::from_packed(2, vec![0.0, 0.0, 4.0]);
        assert_eq!(slerp(&zero, 0.25, &Parallel::Sine(1e-8)), [0.75, 0.25]);
    }
}
