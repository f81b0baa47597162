//! Vector code without intrinsics: loops compiled for AVX-512, AVX2 or the baseline and chosen at run
//! time, and the few primitives the kernels share.
//!
//! Reductions run over [`LANES`] partial sums whatever the instruction set, so AVX-512 and AVX2
//! machines give the same bits.

use std::sync::OnceLock;

/// Partial sums of a reduction: one AVX-512 register of `f32`.
pub const LANES: usize = 16;

/// Runs `body`, inlined into a function compiled for the best instruction set of this machine.
#[inline(always)]
pub fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(body)
}

/// Σ over lanes, pairwise.
#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σᵢ aᵢ·bᵢ.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDE: usize = 4 * LANES;
    let mut sums = [[0.0f32; LANES]; 4];
    let (a_wide, b_wide) = (a.chunks_exact(WIDE), b.chunks_exact(WIDE));
    let (a_rest, b_rest) = (a_wide.remainder(), b_wide.remainder());
    for (a, b) in a_wide.zip(b_wide) {
        for (group, sum) in sums.iter_mut().enumerate() {
            let group = group * LANES..(group + 1) * LANES;
            for ((sum, a), b) in sum.iter_mut().zip(&a[group.clone()]).zip(&b[group]) {
                *sum = a.mul_add(*b, *sum);
            }
        }
    }
    let mut total = [0.0f32; LANES];
    for lane in 0..LANES {
        total[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
    }
    for (at, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        total[at % LANES] = a.mul_add(*b, total[at % LANES]);
    }
    fold(total)
}

/// Σᵢ xᵢ.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += value;
    }
    fold(lanes)
}

/// maxᵢ xᵢ, −∞ for an empty slice.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] {
                chunk[lane]
            } else {
                lanes[lane]
            };
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        lanes[lane] = if value > lanes[lane] { value } else { lanes[lane] };
    }
    lanes.iter().fold(
        f32::NEG_INFINITY,
        |best, &lane| if lane > best { lane } else { best },
    )
}

/// eˣ to about 1 ulp over the whole `f32` range (Cody–Waite reduction by ln 2, degree-6 polynomial).
///
/// Inputs below −87.3 give 0 and above 88.7 give +∞; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.336 { -87.336 } else { x };
    let clamped = if clamped > 88.722 { 88.722 } else { clamped };
    // Adding 1.5·2²³ rounds to the nearest integer in the low bits of the mantissa.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let mantissa = (p * r).mul_add(r, r) + 1.0;
    // 2ⁿ in two halves, because n reaches 128.
    let exponent = (shifted.to_bits() as i32) - (SHIFT.to_bits() as i32);
    let half = exponent >> 1;
    let low = f32::from_bits(((half + 127) << 23) as u32);
    let high = f32::from_bits(((exponent - half + 127) << 23) as u32);
    let value = mantissa * low * high;
    let value = if x < -87.336 { 0.0 } else { value };
    if x > 88.722 { f32::INFINITY } else { value }
}

/// y += s·x.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], s: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = s.mul_add(*x, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_the_double_precision_value() {
        let mut worst = 0.0f64;
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            let exact = (x as f64).exp();
            let got = vectorised(
                #[inline(always)]
                || exp(x),
            ) as f64;
            worst = worst.max((got - exact).abs() / exact);
        }
        assert!(worst < 2.0 * f32::EPSILON as f64, "relative error {worst:e}");
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn reductions_match_double_precision() {
        let x: Vec<f32> = (0..1003)
            .map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5)
            .collect();
        let y: Vec<f32> = x.iter().map(|v| 1.0 - v * v).collect();
        let exact: f64 = x.iter().zip(&y).map(|(a, b)| *a as f64 * *b as f64).sum();
        assert!((dot(&x, &y) as f64 - exact).abs() < 1e-4);
        assert!((sum(&x) as f64 - x.iter().map(|v| *v as f64).sum::<f64>()).abs() < 1e-4);
        assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }
}
