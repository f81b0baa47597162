//! The product s·(B·A), a stretch of elements at a time.

use tributary_tensorfile::{Checkpoint, TensorInfo, to_f32};

use super::adapter::Update;
use crate::error::{MergeError, Result};
use crate::kernel::vectorised;
use crate::source::read_range;

/// Columns in work at once.
const TILE: usize = 32;

/// Both factors of an update, read: the weight is changed by s·L·R, L with a row for every row of the weight.
pub(crate) struct Factors {
    /// L, row by row.
    left: Vec<f32>,
    /// R, row by row.
    right: Vec<f32>,
    rank: usize,
    columns: usize,
    scale: f64,
}

impl Factors {
    /// Reads the factors of `update`; `name` is what messages call the adapter.
    pub(crate) fn read(name: &str, checkpoint: &Checkpoint, update: &Update) -> Result<Factors> {
        let (a, b) = (
            read(name, checkpoint, &update.a)?,
            read(name, checkpoint, &update.b)?,
        );
        let (rank, inputs) = (update.a.shape[0], update.a.shape[1]);
        let outputs = update.b.shape[0];
        let (left, right, columns) = match update.is_embedding {
            false => (b, a, inputs),
            true => (transposed(&a, inputs), transposed(&b, rank), outputs),
        };
        Ok(Factors {
            left,
            right,
            rank,
            columns,
            scale: update.scale,
        })
    }

    /// Bytes of both.
    pub(crate) fn bytes(&self) -> usize {
        (self.left.len() + self.right.len()) * size_of::<f32>()
    }

    /// Adds s·L·R to the elements of the weight from `start` on: w + Σₖ (s·Lᵢₖ)·Rₖⱼ, in `f64` in this order, rounded
    /// once. How a weight is cut into stretches changes nothing.
    pub(crate) fn add(&self, start: usize, values: &mut [f32]) {
        let mut at = 0;
        while at < values.len() {
            let (row, column) = ((start + at) / self.columns, (start + at) % self.columns);
            let len = (values.len() - at).min(self.columns - column);
            let left = &self.left[row * self.rank..][..self.rank];
            let coefficients: Vec<f64> = left.iter().map(|value| self.scale * f64::from(*value)).collect();
            let stretch = &mut values[at..at + len];
            vectorised(
                #[inline(always)]
                || add_products(stretch, &coefficients, &self.right, self.columns, column),
            );
            at += len;
        }
    }
}

/// Adds Σₖ cₖ·Rₖⱼ to values that begin at column `column`. A tile's sums stay in registers while all rows of R go by.
#[inline(always)]
fn add_products(values: &mut [f32], coefficients: &[f64], right: &[f32], columns: usize, column: usize) {
    let (tiles, rest) = values.as_chunks_mut::<TILE>();
    let rows = || coefficients.iter().zip(right.chunks_exact(columns));
    for (tile, start) in tiles.iter_mut().zip((column..).step_by(TILE)) {
        let mut sums = tile.map(f64::from);
        for (coefficient, row) in rows() {
            let Some(row) = row.get(start..).and_then(|row| row.first_chunk::<TILE>()) else {
                return;
            };
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += coefficient * f64::from(*value);
            }
        }
        *tile = sums.map(|sum| sum as f32);
    }
    for (value, at) in rest.iter_mut().zip(column + tiles.len() * TILE..) {
        let products = rows().map(|(coefficient, row)| coefficient * f64::from(row[at]));
        *value = products.fold(f64::from(*value), |sum, product| sum + product) as f32;
    }
}

fn read(name: &str, checkpoint: &Checkpoint, tensor: &TensorInfo) -> Result<Vec<f32>> {
    let mut bytes = vec![0; tensor.bytes as usize];
    read_range(name, checkpoint, tensor, 0, &mut bytes)?;
    let mut values = vec![0.0; tensor.elements()];
    to_f32(tensor.dtype, &bytes, &mut values).map_err(|error| MergeError::Internal(error.to_string()))?;
    Ok(values)
}

/// The transpose of a matrix with rows of `columns` elements.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let element = |index: usize| matrix[index % rows * columns + index / rows];
    (0..matrix.len()).map(element).collect()
}
