//! The ridge regression that healing and replacing solve: a matrix whose products are as near as can be to what is missing.
//!
//! `Δ = Rᵀ A (AᵀA + λ·m·I)⁻¹`, A `[tokens, columns]` what the matrix multiplies, R `[tokens, width]` what is missing, m the mean of
//! the diagonal of AᵀA. λ is the best of [`RIDGES`] on a fifth of the batches that the regression does not see.

use nalgebra::{Cholesky, DMatrix};
use tributary_data::{EvaluationBatches, EvaluationOptions, PADDING};
use tributary_model::{Decoder, Part, Tensor, TokenBatch, host, kernel};

use crate::error::Result;
use crate::order::Text;

/// Shares of the mean diagonal that are tried.
const RIDGES: [f64; 5] = [1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Every such batch is for choosing between them.
const HELD_BACK: usize = 5;

/// A regression: what should come out of layer `wanted` of the whole model is to come out of layer `place` of the pruned one,
/// by the last matrix of `part`.
pub(crate) struct Place {
    pub(crate) wanted: usize,
    pub(crate) place: usize,
    pub(crate) part: Part,
    /// Number of `place` in the whole model.
    pub(crate) layer: usize,
}

/// What a regression found.
pub(crate) struct Solution {
    /// Δ, row by row.
    pub(crate) delta: Vec<f64>,
    /// λ.
    pub(crate) ridge: f64,
    /// Share of Σ ‖R‖² that is still missing on the batches held back.
    pub(crate) missing: f64,
}

/// AᵀA, AᵀR and Σ ‖R‖², of the batches that the regression sees and of those held back.
pub(crate) struct Sums {
    gram: [DMatrix<f64>; 2],
    cross: [DMatrix<f64>; 2],
    squares: [f64; 2],
}

/// Reads the calibration text through both models.
pub(crate) fn sums(
    whole: &Decoder,
    pruned: &Decoder,
    place: &Place,
    text: Text<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Sums> {
    let config = whole.config();
    let width = config.hidden_size;
    let inner = match place.part {
        Part::Attention => config.heads * config.head_dim,
        Part::Layer | Part::FeedForward => config.intermediate_size,
    };
    let zeros = |rows: usize, columns: usize| [(); 2].map(|()| DMatrix::<f64>::zeros(rows, columns));
    let mut sums = Sums {
        gram: zeros(inner, inner),
        cross: zeros(inner, width),
        squares: [0.0; 2],
    };
    // Enough batches that some can be held back.
    let tokens: usize = text.documents.iter().map(|document| document.tokens.len()).sum();
    let batch = text
        .options
        .batch_tokens
        .min(tokens.div_ceil(2 * HELD_BACK))
        .max(1);
    let cut = EvaluationOptions {
        rows: batch,
        context: text.options.context,
        stride: None,
        max_positions: Some(batch),
        pad: 0,
    };
    let batches =
        EvaluationBatches::new(text.documents, cut).map_err(tributary_evaluate::EvaluateError::from)?;
    let all = batches.positions();
    let mut done = 0;
    for (number, batch) in batches.enumerate() {
        done += batch.filled() as u64;
        let counts: Vec<f32> = batch
            .segments
            .iter()
            .map(|segment| if *segment == PADDING { 0.0 } else { 1.0 })
            .collect();
        let input = TokenBatch::packed(
            batch.rows,
            batch.len,
            batch.tokens,
            &batch.segments,
            batch.targets,
        )?;
        let (_, target) = whole.into_last_matrix(&input, place.wanted, place.part)?;
        let (activation, out) = pruned.into_last_matrix(&input, place.place, place.part)?;
        // Padding is nothing to learn from.
        let counts = Tensor::<1>::from_floats(counts.as_slice(), &out.device()).reshape([-1, 1]);
        let activation = activation * counts.clone();
        let rest = (target - out) * counts;
        let side = usize::from(number % HELD_BACK == HELD_BACK - 1);
        // `linear` multiplies by a transposed matrix.
        let across = activation.transpose();
        add(
            &mut sums.gram[side],
            kernel::linear(across.clone(), across.clone()),
        )?;
        add(
            &mut sums.cross[side],
            kernel::linear(across, rest.clone().transpose()),
        )?;
        let squares: f64 = host(rest)?.iter().map(|value| f64::from(*value).powi(2)).sum();
        sums.squares[side] += squares;
        if !progress(done, all) {
            return Err(tributary_evaluate::EvaluateError::Cancelled.into());
        }
    }
    Ok(sums)
}

fn add(sum: &mut DMatrix<f64>, product: Tensor<2>) -> Result<()> {
    let columns = sum.ncols();
    for (at, value) in host(product)?.into_iter().enumerate() {
        sum[(at / columns, at % columns)] += f64::from(value);
    }
    Ok(())
}

impl Sums {
    /// None if nothing is gained on the batches held back, or there were none.
    pub(crate) fn solve(&self) -> Option<Solution> {
        let inner = self.gram[0].nrows();
        let mean = self.gram[0].trace() / inner as f64;
        if !(self.squares[1] > 0.0 && mean > 0.0) {
            return None;
        }
        let mut best: Option<(f64, f64)> = None;
        for ridge in RIDGES {
            let Some(delta) = self.delta(&self.gram[0], &self.cross[0], ridge * mean) else {
                continue;
            };
            // ‖R − A·Δᵀ‖² = ‖R‖² − 2·⟨AᵀR, Δᵀ⟩ + ⟨Δᵀ, AᵀA·Δᵀ⟩
            let fit = 2.0 * self.cross[1].dot(&delta) - delta.dot(&(&self.gram[1] * &delta));
            let missing = (self.squares[1] - fit) / self.squares[1];
            if best.is_none_or(|(least, _)| missing < least) {
                best = Some((missing, ridge));
            }
        }
        let (missing, ridge) = best.filter(|(missing, _)| *missing < 1.0)?;
        // Once chosen, all batches count.
        let (gram, cross) = (&self.gram[0] + &self.gram[1], &self.cross[0] + &self.cross[1]);
        let delta = self.delta(&gram, &cross, ridge * gram.trace() / inner as f64)?;
        // nalgebra is column by column: Δᵀ `[intermediate, width]` so is Δ row by row.
        Some(Solution {
            delta: delta.as_slice().to_vec(),
            ridge,
            missing,
        })
    }

    /// The columns of A that each alone would give most of what is missing, `‖(AᵀR)ⱼ‖²/(AᵀA)ⱼⱼ`; ascending.
    pub(crate) fn best_columns(&self, count: usize) -> Vec<usize> {
        let gain = |column: usize| match self.gram[0][(column, column)] {
            square if square > 0.0 => self.cross[0].row(column).norm_squared() / square,
            _ => 0.0,
        };
        let gains: Vec<f64> = (0..self.gram[0].nrows()).map(gain).collect();
        let mut columns: Vec<usize> = (0..gains.len()).collect();
        columns.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
        columns.truncate(count);
        columns.sort_unstable();
        columns
    }

    /// The same regression on these columns alone.
    pub(crate) fn of_columns(&self, columns: &[usize]) -> Sums {
        let gram = |of: &DMatrix<f64>| of.select_rows(columns).select_columns(columns);
        let cross = |of: &DMatrix<f64>| of.select_rows(columns);
        Sums {
            gram: [gram(&self.gram[0]), gram(&self.gram[1])],
            cross: [cross(&self.cross[0]), cross(&self.cross[1])],
            squares: self.squares,
        }
    }

    /// Δᵀ = (AᵀA + ridge·I)⁻¹ AᵀR.
    fn delta(&self, gram: &DMatrix<f64>, cross: &DMatrix<f64>, ridge: f64) -> Option<DMatrix<f64>> {
        let mut gram = gram.clone();
        for at in 0..gram.nrows() {
            gram[(at, at)] += ridge;
        }
        Some(Cholesky::new(gram)?.solve(cross))
    }
}
