//! Bins of factors of two, for the small probabilities that bins of equal width put into one.
//!
//! Bin 0 holds what is below 2⁻²⁰ (about 10⁻⁶), bin k, 1 to 20, what lies in [2^(k−21), 2^(k−20)), the last one closed.

/// Bins.
pub(crate) const LOG_BINS: usize = 21;
/// Exponent of 2⁻²⁰ as `f32` has it.
const LOWEST: u32 = 127 - 20;

/// What one row of probabilities adds, by bin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogRow {
    pub(crate) count: [u32; LOG_BINS],
    pub(crate) mass: [f64; LOG_BINS],
    /// The bin of the token that came.
    pub(crate) target: usize,
}

/// Of a row of which `scale` makes probabilities.
pub(crate) fn log_row(row: &[f32], scale: f64, target: usize) -> LogRow {
    let scale = scale as f32;
    let (mut count, mut mass) = ([0; LOG_BINS], [0.0; LOG_BINS]);
    for value in row {
        let p = value * scale;
        let bin = log_bin(p);
        count[bin] += 1;
        mass[bin] += f64::from(p);
    }
    LogRow {
        count,
        mass,
        target: log_bin(row[target] * scale),
    }
}

/// The bin of a probability: its exponent.
fn log_bin(p: f32) -> usize {
    let exponent = p.to_bits() >> 23;
    ((exponent + 1).saturating_sub(LOWEST) as usize).min(LOG_BINS - 1)
}

/// The lowest probability of a bin, and that at which the next one begins.
pub(super) fn edges(bin: usize) -> (f64, f64) {
    let power = |bin: usize| 2f64.powi(bin as i32 - 21);
    match bin {
        0 => (0.0, power(1)),
        _ => (power(bin), power(bin + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_factors_of_two() {
        for (p, bin) in [
            (1.0f32, 20),
            (0.75, 20),
            (0.5, 20),
            (0.499, 19),
            (0.25, 19),
            (1e-6, 1),
            (9e-7, 0),
            (0.0, 0),
        ] {
            assert_eq!(log_bin(p), bin, "{p}");
            let (from, to) = edges(bin);
            assert!(
                f64::from(p) >= from && (f64::from(p) < to || p == 1.0),
                "{p}: {from} {to}"
            );
        }
        assert_eq!(edges(20), (0.5, 1.0));
        let row = log_row(&[1.0, 0.5, 0.5], 0.5, 1);
        assert_eq!((row.count[20], row.count[19], row.target), (1, 2, 19));
        assert_eq!((row.mass[20], row.mass[19]), (0.5, 0.5));
    }
}
