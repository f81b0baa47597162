//! Matrix products: the one door to the `gemm` crate, and a dot-product route for a few rows.

use rayon::prelude::*;

use super::simd::{dot, vectorised};

/// A read-only matrix view: element (r, c) lies at `r·row_stride + c·column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix `[rows, columns]` whose rows lie `stride` elements apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let needed = if rows == 0 || columns == 0 {
            0
        } else {
            (rows - 1) * stride + columns
        };
        assert!(
            data.len() >= needed,
            "matrix view [{rows}, {columns}] over {} elements",
            data.len()
        );
        Self {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// A dense row-major matrix `[rows, columns]`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Who does the work of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread: for products inside an already parallel loop.
    One,
    /// The rayon pool.
    All,
}

/// `c = keep·c + scale·(a · b)`, with `c` row-major and `keep` 0 or 1 (`accumulate`).
///
/// Rows of `c` lie `c_stride` elements apart.
pub fn multiply(
    c: &mut [f32],
    c_stride: usize,
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    accumulate: bool,
    threads: Threads,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner dimensions of a matrix product differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        c_stride >= n && c.len() >= (m - 1) * c_stride + n,
        "product does not fit its output"
    );
    let parallelism = match threads {
        Threads::All if m * n * k > 1 << 18 => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    #[expect(unsafe_code)]
    // SAFETY: the asserts above and in `View` keep every address that the strides reach inside the
    // three slices; `c` is exclusive, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Rows up to which a linear layer is a bundle of dot products: reading the weights once is then the
/// whole cost, and packing them for a blocked product would double it.
const FEW_ROWS: usize = 4;

/// A linear layer: `y[rows, out] = x[rows, in] · w[out, in]ᵀ`.
pub fn linear(y: &mut [f32], x: &[f32], w: &[f32], rows: usize, inner: usize, outer: usize) {
    if rows > FEW_ROWS {
        let (x, w) = (View::new(x, rows, inner), View::new(w, outer, inner).transposed());
        return multiply(y, outer, x, w, 1.0, false, Threads::All);
    }
    let band = outer
        .div_ceil(rayon::current_num_threads())
        .next_multiple_of(16)
        .max(64);
    let mut bands: Vec<Vec<&mut [f32]>> = (0..outer.div_ceil(band))
        .map(|_| Vec::with_capacity(rows))
        .collect();
    for row in y.chunks_mut(outer) {
        for (chunk, band) in row.chunks_mut(band).zip(&mut bands) {
            band.push(chunk);
        }
    }
    bands.into_par_iter().enumerate().for_each(|(index, mut parts)| {
        vectorised(
            #[inline(always)]
            || {
                let first = index * band;
                let width = parts.first().map_or(0, |part| part.len());
                for column in 0..width {
                    let weights = &w[(first + column) * inner..][..inner];
                    for (row, part) in parts.iter_mut().enumerate() {
                        part[column] = dot(&x[row * inner..][..inner], weights);
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + salt * 104_729) % 2003) as f32 / 1001.5) - 1.0)
            .collect()
    }

    #[test]
    fn linear_equals_the_definition_for_few_and_many_rows() {
        for (rows, inner, outer) in [(1, 37, 130), (3, 64, 65), (9, 48, 33), (70, 96, 200)] {
            let (x, w) = (numbers(rows * inner, 1), numbers(outer * inner, 2));
            let mut y = vec![0.0; rows * outer];
            linear(&mut y, &x, &w, rows, inner, outer);
            for r in 0..rows {
                for o in 0..outer {
                    let exact: f64 = (0..inner)
                        .map(|i| x[r * inner + i] as f64 * w[o * inner + i] as f64)
                        .sum();
                    assert!((y[r * outer + o] as f64 - exact).abs() < 1e-4, "({r}, {o})");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let (rows, inner, outer) = (130, 257, 321);
        let (x, w) = (numbers(rows * inner, 3), numbers(outer * inner, 4));
        let product = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut y = vec![0.0; rows * outer];
            pool.install(|| linear(&mut y, &x, &w, rows, inner, outer));
            let mut one = vec![0.0; outer];
            pool.install(|| linear(&mut one, &x[..inner], &w, 1, inner, outer));
            (y, one)
        };
        assert_eq!(product(1), product(2));
        assert_eq!(product(1), product(5));
    }
}
