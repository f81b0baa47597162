//! The largest singular values of a matrix, and their vectors.
//!
//! Randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1): the range of Δ is sampled by
//! a few more vectors than are wanted, multiplied by ΔΔᵀ a few times, and Δ is decomposed within that range. One
//! deviation: bases are made orthonormal by the eigenvectors of their Gram matrix, twice, instead of by QR, which is all
//! matrix products but for one small symmetric eigenproblem. With as many samples as the matrix has rows or columns
//! the decomposition is the exact one.

use nalgebra::DMatrix;

/// Products with ΔΔᵀ: each makes what lies outside the wanted range smaller by the square of the ratio of the singular
/// values. Four find the energy of a spectrum as flat as noise to within a percent of the best.
const ITERATIONS: usize = 4;
/// Samples beyond the wanted rank, at least.
const OVERSAMPLING: usize = 16;
/// Directions whose singular value is this much smaller than the largest are rounding.
const NEGLIGIBLE: f64 = 1e-6;
/// Rows of Δ whose remainder is computed at once.
const STRETCH: usize = 256;
const SEED: u64 = 0x5EED_0F1A_57AD_0001;

/// Δ ≈ U·diag(σ)·Vᵀ.
pub(super) struct Spectrum {
    /// Δᵀ.
    turned: DMatrix<f32>,
    /// σ, falling; at most as many as were asked for, none that are rounding.
    pub(super) values: Vec<f64>,
    /// Rows × values.
    u: DMatrix<f32>,
    /// Values × columns: diag(σ)·Vᵀ.
    sv: DMatrix<f32>,
}

impl Spectrum {
    /// Decomposes a matrix given row by row.
    pub(super) fn of(delta: Vec<f32>, rows: usize, columns: usize, rank: usize) -> Spectrum {
        // Δᵀ: row by row is what nalgebra, column by column, takes for the transpose.
        let turned = DMatrix::from_vec(columns, rows, delta);
        // Δ·X = (Xᵀ·Δᵀ)ᵀ, in products of whole matrices: in nalgebra 0.35 those of views with two strides may read past the
        // end of the view.
        let times = |x: DMatrix<f32>| (x.transpose() * &turned).transpose();
        let smaller = rows.min(columns);
        let samples = (rank + OVERSAMPLING.max(rank / 4)).min(smaller);
        let mut range = orthonormal(times(drawn(columns, samples)));
        for _ in 0..ITERATIONS {
            let other = orthonormal(&turned * &range);
            range = orthonormal(times(other));
        }
        // C = ΔᵀQ, so that Δ ≈ Q·Cᵀ; the eigenvectors of CᵀC turn Q into U.
        let inner = (&turned * &range).cast::<f64>();
        let (squares, vectors) = eigenvectors(&gram(&inner));
        let largest = squares.first().copied().unwrap_or(0.0);
        let kept = squares
            .iter()
            .take(rank)
            .take_while(|square| **square > largest * NEGLIGIBLE * NEGLIGIBLE)
            .count();
        let turn = vectors.columns(0, kept).into_owned();
        let (u, sv) = (
            (range.cast::<f64>() * &turn).cast::<f32>(),
            (inner * turn).transpose().cast::<f32>(),
        );
        Spectrum {
            turned,
            u,
            sv,
            values: squares.iter().take(kept).map(|square| square.sqrt()).collect(),
        }
    }

    /// How many values are needed for at least this share of `total` (all σ² together); all there are if they are too
    /// few.
    pub(super) fn needed(&self, share: f64, total: f64) -> usize {
        let mut sum = 0.0;
        let enough = self.values.iter().position(|value| {
            sum += value * value;
            sum >= share * total
        });
        enough.map_or(self.values.len(), |at| at + 1)
    }

    /// ‖Δ − B·A‖² of the first `rank` values, measured: sums of squares of singular values come out of products in `f32`
    /// and say nothing below 1e-7.
    pub(super) fn remainder(&self, rank: usize) -> f64 {
        let left = self.sv.rows(0, rank).transpose();
        let mut sum = 0.0;
        for start in (0..self.u.nrows()).step_by(STRETCH) {
            let len = STRETCH.min(self.u.nrows() - start);
            let product = &left * self.u.view((start, 0), (len, rank)).transpose();
            let delta = self.turned.columns(start, len);
            let rest = delta
                .iter()
                .zip(product.iter())
                .map(|(delta, product)| f64::from(delta - product));
            sum += rest.map(|rest| rest * rest).sum::<f64>();
        }
        sum
    }

    /// A (rank × columns) and B (rows × rank), row by row, with B·A the part of the first `rank` values, each of which is
    /// split evenly between both.
    pub(super) fn factors(&self, rank: usize) -> (Vec<f32>, Vec<f32>) {
        let root = |k: usize| self.values[k].sqrt() as f32;
        let (rows, columns) = (self.u.nrows(), self.sv.ncols());
        let a = (0..rank).flat_map(|k| (0..columns).map(move |j| self.sv[(k, j)] / root(k)));
        let b = (0..rows).flat_map(|i| (0..rank).map(move |k| self.u[(i, k)] * root(k)));
        (a.collect(), b.collect())
    }
}

/// Columns that span what those of `matrix` span, orthonormal; fewer where some are rounding.
fn orthonormal(matrix: DMatrix<f32>) -> DMatrix<f32> {
    let mut columns = matrix.cast::<f64>();
    // The first time leaves errors where the columns were nearly dependent, the second none.
    for _ in 0..2 {
        let (squares, vectors) = eigenvectors(&gram(&columns));
        let largest = squares.first().copied().unwrap_or(0.0);
        let kept = squares
            .iter()
            .take_while(|square| **square > largest * NEGLIGIBLE * NEGLIGIBLE)
            .count();
        let mut turn = vectors.columns(0, kept).into_owned();
        for (mut column, square) in turn.column_iter_mut().zip(&squares) {
            column /= square.sqrt();
        }
        columns *= turn;
    }
    columns.cast::<f32>()
}

fn gram(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    matrix.transpose() * matrix
}

/// Eigenvalues of a symmetric matrix, falling, and their vectors.
fn eigenvectors(matrix: &DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let found = matrix.clone().symmetric_eigen();
    let mut order: Vec<usize> = (0..found.eigenvalues.len()).collect();
    order.sort_by(|a, b| found.eigenvalues[*b].total_cmp(&found.eigenvalues[*a]));
    let values = order.iter().map(|at| found.eigenvalues[*at]).collect();
    let columns: Vec<_> = order.iter().map(|at| found.eigenvectors.column(*at)).collect();
    let vectors = if columns.is_empty() {
        DMatrix::zeros(0, 0)
    } else {
        DMatrix::from_columns(&columns)
    };
    (values, vectors)
}

/// Numbers in [−1, 1), always the same.
fn drawn(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut state = SEED;
    DMatrix::from_fn(rows, columns, |_, _| {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ of the squares of all elements.
    fn energy(values: &[f32]) -> f64 {
        values.iter().map(|value| f64::from(*value).powi(2)).sum()
    }

    fn remainder(delta: &[f32], rows: usize, columns: usize, spectrum: &Spectrum, rank: usize) -> f64 {
        let (a, b) = spectrum.factors(rank);
        let product = DMatrix::from_row_slice(rows, rank, &b) * DMatrix::from_row_slice(rank, columns, &a);
        let rest = (0..rows * columns).map(|i| delta[i] - product[(i / columns, i % columns)]);
        energy(&rest.collect::<Vec<_>>())
    }

    #[test]
    fn a_matrix_of_low_rank_comes_back() {
        for (rows, columns) in [(70, 130), (130, 70), (8, 300), (1, 9), (9, 1)] {
            let rank = 5.min(rows).min(columns);
            let product = drawn(rows, rank) * drawn(rank + 1, columns).rows(0, rank);
            let delta: Vec<f32> = product.transpose().iter().copied().collect();
            let spectrum = Spectrum::of(delta.clone(), rows, columns, 8);
            assert_eq!(spectrum.values.len(), rank, "{rows} × {columns}");
            let rest = remainder(&delta, rows, columns, &spectrum, rank);
            assert!((spectrum.remainder(rank) - rest).abs() < 1e-12 * energy(&delta));
            assert!(rest < 1e-11 * energy(&delta), "{rows} × {columns}: {rest}");
            assert_eq!(spectrum.needed(1.0 - 1e-5, energy(&delta)), rank);
        }
    }

    #[test]
    fn a_flat_spectrum_is_nearly_the_best_possible() {
        let (rows, columns, rank) = (120, 200, 10);
        let noise = drawn(rows, columns);
        let delta: Vec<f32> = noise.transpose().iter().copied().collect();
        let spectrum = Spectrum::of(delta.clone(), rows, columns, rank);
        let exact = noise.cast::<f64>().singular_values();
        let best: f64 = exact.iter().take(rank).map(|value| value * value).sum();
        let kept: f64 = spectrum.values.iter().map(|value| value * value).sum();
        assert!(
            kept <= best * (1.0 + 1e-6) && kept > 0.99 * best,
            "{kept} of {best}"
        );
        let rest = remainder(&delta, rows, columns, &spectrum, rank);
        assert!(
            (rest - (energy(&delta) - kept)).abs() < 1e-4 * energy(&delta),
            "{rest}"
        );
        let again = Spectrum::of(delta.clone(), rows, columns, rank);
        assert_eq!(again.factors(rank), spectrum.factors(rank));
        // Nothing is left out when all is asked for.
        let all = Spectrum::of(delta.clone(), rows, columns, rows);
        assert!(remainder(&delta, rows, columns, &all, rows) < 1e-10 * energy(&delta));
    }
}
