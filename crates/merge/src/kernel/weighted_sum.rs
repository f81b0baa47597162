//! out = Σᵢ cᵢ·xᵢ, summed in `f64` in the order of the inputs and rounded once to `f32`.
//!
//! Summing in `f64` costs nothing beside reading the inputs and makes the result what the formula says: merging equal
//! tensors with weights that sum to one gives them back bit for bit, and θ₀ + Σ cᵢ(θᵢ − θ₀) may be computed as
//! (1 − Σcᵢ)·θ₀ + Σ cᵢ·θᵢ without losing the small differences.

use super::vectorised;

/// One input of a weighted sum.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) coefficient: f64,
    pub(crate) values: &'a [f32],
}

/// `sum[i] = Σ coefficient·values[i]`, added in the order of the terms; all slices have the length of `sum`.
pub(crate) fn weighted_sum(terms: &[Term<'_>], sum: &mut [f64]) {
    // −0 is what addition leaves every number as it is with, a negative zero included.
    sum.fill(if terms.is_empty() { 0.0 } else { -0.0 });
    // Several terms in one sweep save reading and writing the sums; the order of additions is the same.
    let (fours, rest) = terms.as_chunks::<4>();
    for four in fours {
        vectorised(
            #[inline(always)]
            || add(four, sum),
        );
    }
    match rest {
        [] => {}
        [one] => vectorised(
            #[inline(always)]
            || add(&[*one], sum),
        ),
        [one, two] => vectorised(
            #[inline(always)]
            || add(&[*one, *two], sum),
        ),
        [one, two, three, ..] => vectorised(
            #[inline(always)]
            || add(&[*one, *two, *three], sum),
        ),
    }
}

#[inline(always)]
fn add<const N: usize>(terms: &[Term<'_>; N], sum: &mut [f64]) {
    // Copied, and every slice of one length: or else the compiler reads the terms anew for every element, and one by one.
    let coefficients = terms.map(|term| term.coefficient);
    let len = terms
        .iter()
        .fold(sum.len(), |len, term| len.min(term.values.len()));
    debug_assert_eq!(len, sum.len());
    let values = terms.map(|term| &term.values[..len]);
    for (at, sum) in sum[..len].iter_mut().enumerate() {
        let mut value = *sum;
        for term in 0..N {
            value += coefficients[term] * f64::from(values[term][at]);
        }
        *sum = value;
    }
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

/// How many of these values no number of a type stands for whose magnitudes round to infinity from `limit` on.
pub(crate) fn count_beyond(values: &[f32], limit: f32) -> u64 {
    vectorised(
        #[inline(always)]
        || {
            let beyond = |value: &f32| u32::from(value.is_nan() | (value.abs() >= limit));
            values.iter().map(beyond).fold(0u32, u32::wrapping_add)
        },
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(coefficients: &[f64], inputs: &[&[f32]]) -> Vec<f32> {
        let terms: Vec<Term<'_>> = coefficients
            .iter()
            .zip(inputs)
            .map(|(coefficient, values)| Term {
                coefficient: *coefficient,
                values,
            })
            .collect();
        let mut sum = vec![f64::NAN; inputs[0].len()];
        weighted_sum(&terms, &mut sum);
        let mut out = vec![0.0; sum.len()];
        round_to_f32(&sum, &mut out);
        out
    }

    #[test]
    fn any_number_of_terms_is_added_in_order() {
        let inputs: Vec<Vec<f32>> = (0..11)
            .map(|t| (0..100).map(|i| ((i * t) as f32).sin()).collect())
            .collect();
        for count in 0..=inputs.len() {
            let terms: Vec<Term<'_>> = inputs[..count]
                .iter()
                .enumerate()
                .map(|(t, values)| Term {
                    coefficient: 0.1 + t as f64,
                    values,
                })
                .collect();
            let mut sum = vec![f64::NAN; 100];
            weighted_sum(&terms, &mut sum);
            for (i, sum) in sum.iter().enumerate() {
                let expected = terms.iter().fold(0.0, |sum, term| {
                    sum + term.coefficient * f64::from(term.values[i])
                });
                assert_eq!(*sum, expected, "{count} terms");
            }
        }
    }

    #[test]
    fn the_sum_is_the_formula_rounded_once() {
        let a: Vec<f32> = (0..777).map(|i| (i as f32).sin() * 3.0).collect();
        let b: Vec<f32> = (0..777).map(|i| (i as f32).cos()).collect();
        let out = rounded(&[0.36, 0.64], &[&a, &b]);
        for i in 0..777 {
            assert_eq!(out[i], (0.36 * f64::from(a[i]) + 0.64 * f64::from(b[i])) as f32);
        }
    }

    #[test]
    fn equal_inputs_come_back_unchanged() {
        let x: Vec<f32> = (0..1000)
            .map(|i| f32::from_bits(0x2f80_0000 + i * 104_729))
            .collect();
        assert_eq!(rounded(&[0.1, 0.2, 0.7], &[&x, &x, &x]), x);
        // θ₀ + 0.3·Σ(θᵢ − θ₀) with θᵢ = θ₀, written as one sum.
        assert_eq!(rounded(&[1.0 - 0.9, 0.3, 0.3, 0.3], &[&x, &x, &x, &x]), x);
    }
}
