//! What a closed form gives back where layers are gone.
//!
//! Of every stretch of removed layers the layer before it stands in: its last matrix W (`down_proj`, which adds W·a to the
//! residual stream) becomes W + Δ, so that what comes out is as near as it can be to what came out of the whole stretch: Δ is the ridge
//! regression of the missing part on a, over the calibration text,
//!
//! Δ = Rᵀ A (AᵀA + λ·m·I)⁻¹,   A `[tokens, intermediate]`, R = H − H′ `[tokens, width]`,
//!
//! H what came out of the stretch in the whole model, H′ what comes out of the layer before it now, m the mean of the diagonal of
//! AᵀA. λ is the best of [`RIDGES`] on a fifth of the batches that the regression does not see; if none of them is better than doing
//! nothing there, nothing is done. The model keeps its form and its speed. Stretches are healed from the first on, so that later ones
//! see what earlier ones gave back.

use nalgebra::{Cholesky, DMatrix};
use tributary_data::{EvaluationBatches, EvaluationOptions, PADDING};
use tributary_model::{Decoder, Tensor, TokenBatch, host, kernel};

use crate::error::Result;
use crate::order::Text;

/// Shares of the mean diagonal that are tried.
const RIDGES: [f64; 5] = [1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Every such batch is for choosing between them.
const HELD_BACK: usize = 5;

/// A matrix that stands in for removed layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Healed {
    /// The layer whose `down_proj` it is, by its number in the whole model.
    pub layer: usize,
    /// `[width, intermediate]`, row by row.
    pub down: Vec<f32>,
    /// λ.
    pub ridge: f64,
    /// Σ ‖R‖² on the batches held back: what is missing there after healing, as a share of before.
    pub missing: f64,
}

/// Corrects `decoder` without `removed`; gives it, healed, and the matrices that changed. `progress` hears of tokens done and all
/// of them, and says whether to go on. A stretch that begins with layer 0 has no layer before it and is left as it is.
///
/// # Errors
/// What the model gives.
pub fn heal(
    decoder: &Decoder,
    removed: &[usize],
    text: Text<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Decoder, Vec<Healed>)> {
    let mut pruned = decoder.without(removed);
    let mut healed = Vec::new();
    for (first, last) in stretches(removed) {
        let Some(layer) = first.checked_sub(1) else {
            continue;
        };
        // Its number among the layers that are left.
        let place = layer - removed.iter().filter(|gone| **gone < layer).count();
        let sums = sums(decoder, last, &pruned, place, text, progress)?;
        let Some((delta, ridge, missing)) = sums.solve() else {
            continue;
        };
        let down = &mut pruned.weights.layers[place].down;
        let mut values = host(down.clone())?;
        for (value, delta) in values.iter_mut().zip(&delta) {
            *value += *delta as f32;
        }
        let dims = down.dims();
        *down = Tensor::<1>::from_floats(values.as_slice(), &down.device())
            .reshape(dims)
            .cast(down.dtype());
        healed.push(Healed {
            layer,
            down: values,
            ridge,
            missing,
        });
    }
    Ok((pruned, healed))
}

/// First and last layer of every stretch.
fn stretches(removed: &[usize]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for layer in removed {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == *layer => *last = *layer,
            _ => stretches.push((*layer, *layer)),
        }
    }
    stretches
}

/// AᵀA, AᵀR and Σ ‖R‖², of the batches that the regression sees and of those held back.
struct Sums {
    gram: [DMatrix<f64>; 2],
    cross: [DMatrix<f64>; 2],
    squares: [f64; 2],
}

fn sums(
    whole: &Decoder,
    last: usize,
    pruned: &Decoder,
    place: usize,
    text: Text<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Sums> {
    let (width, inner) = (whole.config().hidden_size, whole.config().intermediate_size);
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
        let (_, target) = whole.feed_forward(&input, last)?;
        let (activation, out) = pruned.feed_forward(&input, place)?;
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
    /// Δ row by row, its λ, and the share that is still missing on the batches held back; none if nothing is gained there, or
    /// nothing was held back.
    fn solve(&self) -> Option<(Vec<f64>, f64, f64)> {
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
        Some((delta.as_slice().to_vec(), ridge, missing))
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

#[cfg(test)]
mod tests {
    use tributary_data::Document;
    use tributary_evaluate::{LikelihoodOptions, Wanted, measure};

    use super::*;
    use crate::order::tests::decoder;

    fn documents(first: u32) -> Vec<Document> {
        let document = |index: u32| {
            let tokens: Vec<u32> = (0..60)
                .map(|at| (at * (at + index) * 7 + index * 13) % 50)
                .collect();
            Document {
                loss: vec![true; tokens.len()],
                tokens,
                id: index.to_string(),
                part: 0,
            }
        };
        (first..first + 60).map(document).collect()
    }

    #[test]
    fn healing_brings_the_states_nearer_on_other_text() {
        let mut decoder = decoder();
        // A layer that adds much, and much the same everywhere.
        let layer = &mut decoder.weights.layers[3];
        layer.down = layer.down.clone().mul_scalar(40.0);
        let options = LikelihoodOptions {
            context: 64,
            batch_tokens: 128,
        };
        let calibration = documents(0);
        let text = Text {
            documents: &calibration,
            options: &options,
        };
        let removed = [3, 4];
        let (healed, matrices) = heal(&decoder, &removed, text, &mut |_, _| true).unwrap();
        assert_eq!(matrices.len(), 1);
        assert_eq!(matrices[0].layer, 2);
        assert!(matrices[0].missing < 0.9, "{}", matrices[0].missing);
        assert_eq!(
            host(healed.weights.layers[2].down.clone()).unwrap(),
            matrices[0].down
        );

        // On documents that healing did not see.
        let other = documents(500);
        let distance = |pruned: &Decoder| {
            let mut sum = 0.0;
            for document in &other {
                let batch = TokenBatch::document(&document.tokens);
                let whole = host(decoder.feed_forward(&batch, 4).unwrap().1).unwrap();
                let now = host(pruned.feed_forward(&batch, 2).unwrap().1).unwrap();
                sum += whole
                    .iter()
                    .zip(&now)
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .sum::<f64>();
            }
            sum
        };
        let (before, after) = (distance(&decoder.without(&removed)), distance(&healed));
        assert!(after < 0.95 * before, "{after} {before}");
        let wanted = Wanted::default();
        assert!(measure(&healed, &other, &options, &wanted, &mut |_, _| true).is_ok());
    }

    #[test]
    fn without_a_layer_before_it_nothing_is_healed() {
        let decoder = decoder();
        let options = LikelihoodOptions::default();
        let calibration = documents(0);
        let text = Text {
            documents: &calibration,
            options: &options,
        };
        assert_eq!(heal(&decoder, &[0], text, &mut |_, _| true).unwrap().1, []);
        assert_eq!(stretches(&[1, 2, 5, 7, 8]), [(1, 2), (5, 5), (7, 8)]);
    }
}
