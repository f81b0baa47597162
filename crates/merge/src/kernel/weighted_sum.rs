//! out = Σᵢ cᵢ·xᵢ, summed in `f64` in the order of the inputs and rounded once to `f32`.
//!
//! Summing in `f64` costs nothing beside reading the inputs and makes the result what the formula says: merging equal
//! tensors with weights that sum to one gives them back bit for bit, and θ₀ + Σ cᵢ(θᵢ − θ₀) may be computed as
//! (1 − Σcᵢ)·θ₀ + Σ cᵢ·θᵢ without losing the small differences.

use super::vectorised;

/// `sum[i] = coefficient * x[i]`, or `sum[i] += …` unless this is the first input. Slices have equal lengths.
pub(crate) fn accumulate(coefficient: f64, x: &[f32], first: bool, sum: &mut [f64]) {
    vectorised(
        #[inline(always)]
        || {
            if first {
                for (sum, x) in sum.iter_mut().zip(x) {
                    *sum = coefficient * f64::from(*x);
                }
            } else {
                for (sum, x) in sum.iter_mut().zip(x) {
                    *sum += coefficient * f64::from(*x);
                }
            }
        },
    );
}

/// Rounds the sums to the nearest `f32`, ties to even.
pub(crate) fn round_to_f32(sum: &[f64], out: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (out, sum) in out.iter_mut().zip(sum) {
                *out = *sum as f32;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted_sum(coefficients: &[f64], inputs: &[&[f32]]) -> Vec<f32> {
        let mut sum = vec![f64::NAN; inputs[0].len()];
        for (i, (coefficient, input)) in coefficients.iter().zip(inputs).enumerate() {
            accumulate(*coefficient, input, i == 0, &mut sum);
        }
        let mut out = vec![0.0; sum.len()];
        round_to_f32(&sum, &mut out);
        out
    }

    #[test]
    fn the_sum_is_the_formula_rounded_once() {
        let a: Vec<f32> = (0..777).map(|i| (i as f32).sin() * 3.0).collect();
        let b: Vec<f32> = (0..777).map(|i| (i as f32).cos()).collect();
        let out = weighted_sum(&[0.36, 0.64], &[&a, &b]);
        for i in 0..777 {
            assert_eq!(out[i], (0.36 * f64::from(a[i]) + 0.64 * f64::from(b[i])) as f32);
        }
    }

    #[test]
    fn equal_inputs_come_back_unchanged() {
        let x: Vec<f32> = (0..1000)
            .map(|i| f32::from_bits(0x2f80_0000 + i * 104_729))
            .collect();
        assert_eq!(weighted_sum(&[0.1, 0.2, 0.7], &[&x, &x, &x]), x);
        // θ₀ + 0.3·Σ(θᵢ − θ₀) with θᵢ = θ₀, written as one sum.
        assert_eq!(weighted_sum(&[1.0 - 0.9, 0.3, 0.3, 0.3], &[&x, &x, &x, &x]), x);
    }
}
