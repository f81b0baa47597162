//! Regression mean (Jin et al. 2023, arXiv 2212.09849): every matrix is the one whose products are nearest to those of each model's own
//! matrix on what it multiplies there.
//!
//! W = (Σₜ Wₜ Gₜ)(Σₜ Gₜ)⁻¹, Gₜ = α·XₜᵀXₜ + (1 − α)·diag(XₜᵀXₜ), Xₜ `[tokens, columns]` what model t's matrix multiplies on the documents
//! (§3.2, with α = 0.9 as there for decoders). Embeddings, the head, biases and normalisations are averaged.

use nalgebra::{Cholesky, DMatrix};
use tributary_model::{
    Decoder, LayerWeights, MatrixInput, Tensor, TensorType, TokenBatch, Weights, host, kernel,
};

use crate::error::{Result, SearchError};

/// What is left of the elements of XᵀX off the diagonal.
const OFF_DIAGONAL: f64 = 0.9;
/// Share of the mean diagonal that is added to the diagonal, and as much of the average to the products: columns of inputs that
/// never occur are those of the average.
const FLOOR: f64 = 1e-6;

/// Kinds of inputs of a layer.
const INPUTS: [MatrixInput; 4] = [
    MatrixInput::Attention,
    MatrixInput::AttentionOutput,
    MatrixInput::FeedForward,
    MatrixInput::FeedForwardOutput,
];

/// The average of models of one architecture, by what their matrices multiply on `documents` (token ids). `progress` hears of documents
/// done, of all models, and says whether to go on. Holds a matrix of squared width for every input of every layer twice, beside a
/// model of `f32`.
///
/// # Errors
/// [`SearchError::Input`] without models or documents; [`SearchError::Stopped`]; what the models give.
pub fn regmean_average(
    models: &[&Decoder],
    documents: &[Vec<u32>],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Decoder> {
    let Some(first) = models.first().filter(|_| !documents.is_empty()) else {
        let message = "regression means need models and documents";
        return Err(SearchError::Input(message.to_owned()));
    };
    let mut mean = mean(models)?;
    let mut sums: Vec<Sums> = Vec::new();
    let mut done = 0;
    for model in models {
        let grams = grams(model, documents, &mut || {
            done += 1;
            progress(done)
        })?;
        for (at, gram) in grams.into_iter().enumerate() {
            let (layer, which) = (
                &model.weights.layers[at / INPUTS.len()],
                INPUTS[at % INPUTS.len()],
            );
            let gram = weakened(host(gram)?);
            let of_model = Tensor::<1>::from_floats(gram.as_slice(), &first.device().handle());
            let side = gram.len().isqrt();
            let of_model = of_model.cast(TensorType::F32).reshape([side, side]);
            // It is symmetric, so the transposition of `linear` changes nothing.
            let product =
                |matrix: &Tensor<2>| kernel::linear(matrix.clone().cast(TensorType::F32), of_model.clone());
            let products: Vec<Tensor<2>> = matrices(layer, which).map(product).collect();
            match sums.get_mut(at) {
                Some(sums) => sums.add(&gram, products),
                None => sums.push(Sums {
                    gram: gram.iter().map(|value| f64::from(*value)).collect(),
                    products,
                }),
            }
        }
    }
    for (at, sums) in sums.into_iter().enumerate() {
        let (layer, which) = (at / INPUTS.len(), INPUTS[at % INPUTS.len()]);
        if !progress(done) {
            return Err(SearchError::Stopped);
        }
        let averages: Vec<Tensor<2>> = matrices(&mean.layers[layer], which).cloned().collect();
        let solved = sums.solve(&averages)?;
        for (matrix, solved) in matrices_mut(&mut mean.layers[layer], which)
            .into_iter()
            .zip(solved)
        {
            let (dims, device, dtype) = (matrix.dims(), matrix.device(), matrix.dtype());
            *matrix = Tensor::<1>::from_floats(solved.as_slice(), &device)
                .reshape(dims)
                .cast(dtype);
        }
    }
    Ok(Decoder::new(first.config().clone(), first.device(), mean))
}

/// Σₜ Gₜ, and Σₜ Wₜ Gₜ of the matrices that share the input.
struct Sums {
    gram: Vec<f64>,
    products: Vec<Tensor<2>>,
}

impl Sums {
    fn add(&mut self, gram: &[f32], products: Vec<Tensor<2>>) {
        for (sum, value) in self.gram.iter_mut().zip(gram) {
            *sum += f64::from(*value);
        }
        for (sum, product) in self.products.iter_mut().zip(products) {
            *sum = sum.clone() + product;
        }
    }

    /// Each matrix row by row.
    fn solve(self, averages: &[Tensor<2>]) -> Result<Vec<Vec<f32>>> {
        let side = self.gram.len().isqrt();
        let mut gram = DMatrix::from_vec(side, side, self.gram);
        let floor = (FLOOR * gram.trace() / side as f64).max(f64::MIN_POSITIVE);
        (0..side).for_each(|at| gram[(at, at)] += floor);
        let singular = || {
            SearchError::Input(
                "what a matrix multiplies on the calibration text cannot be solved for".to_owned(),
            )
        };
        let factor = Cholesky::new(gram).ok_or_else(singular)?;
        let solve = |(product, average): (Tensor<2>, &Tensor<2>)| -> Result<Vec<f32>> {
            let rows = product.dims()[0];
            // nalgebra is column by column: Wᵀ so is W row by row.
            let values = host(product)?.into_iter().zip(host(average.clone())?);
            let values = values.map(|(product, average)| f64::from(product) + floor * f64::from(average));
            let transposed = factor.solve(&DMatrix::from_iterator(side, rows, values));
            Ok(transposed.iter().map(|value| *value as f32).collect())
        };
        self.products.into_iter().zip(averages).map(solve).collect()
    }
}

/// XᵀX of every input of every layer, in order.
fn grams(model: &Decoder, documents: &[Vec<u32>], go_on: &mut dyn FnMut() -> bool) -> Result<Vec<Tensor<2>>> {
    let mut grams: Vec<Tensor<2>> = Vec::new();
    for tokens in documents {
        let mut at = 0;
        model.matrix_inputs(&TokenBatch::document(tokens), &mut |_, _, input| {
            // `linear` multiplies by a transposed matrix.
            let across = input.clone().cast(TensorType::F32).transpose();
            let gram = kernel::linear(across.clone(), across);
            match grams.get_mut(at) {
                Some(sum) => *sum = sum.clone() + gram,
                None => grams.push(gram),
            }
            at += 1;
            Ok(())
        })?;
        if !go_on() {
            return Err(SearchError::Stopped);
        }
    }
    Ok(grams)
}

/// α·G + (1 − α)·diag(G).
fn weakened(mut gram: Vec<f32>) -> Vec<f32> {
    let side = gram.len().isqrt();
    for (at, value) in gram.iter_mut().enumerate() {
        if at / side != at % side {
            *value *= OFF_DIAGONAL as f32;
        }
    }
    gram
}

/// The plain average.
fn mean(models: &[&Decoder]) -> Result<Weights> {
    let first = models[0];
    let mut at = 0;
    let share = 1.0 / models.len() as f64;
    let weights = Weights::build(
        first.config(),
        &first.device().handle(),
        first.device().compute_dtype(),
        &mut |_| {
            let mut sum: Vec<f64> = Vec::new();
            for model in models {
                let values = model.weights.values(at)?;
                sum.resize(values.len(), 0.0);
                sum.iter_mut()
                    .zip(&values)
                    .for_each(|(sum, value)| *sum += share * f64::from(*value));
            }
            at += 1;
            Ok(sum.into_iter().map(|value| value as f32).collect())
        },
    )?;
    Ok(weights)
}

/// The matrices that multiply one input.
fn matrices(layer: &LayerWeights, which: MatrixInput) -> impl Iterator<Item = &Tensor<2>> {
    let matrices = match which {
        MatrixInput::Attention => vec![&layer.q, &layer.k, &layer.v],
        MatrixInput::AttentionOutput => vec![&layer.o],
        MatrixInput::FeedForward => vec![&layer.gate, &layer.up],
        MatrixInput::FeedForwardOutput => vec![&layer.down],
    };
    matrices.into_iter()
}

fn matrices_mut(layer: &mut LayerWeights, which: MatrixInput) -> Vec<&mut Tensor<2>> {
    match which {
        MatrixInput::Attention => vec![&mut layer.q, &mut layer.k, &mut layer.v],
        MatrixInput::AttentionOutput => vec![&mut layer.o],
        MatrixInput::FeedForward => vec![&mut layer.gate, &mut layer.up],
        MatrixInput::FeedForwardOutput => vec![&mut layer.down],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fisher::tests::model;

    fn documents() -> Vec<Vec<u32>> {
        let document = |at: u32| (0..30).map(|token| (token * 7 + at * 11) % 30).collect();
        (0..6).map(document).collect()
    }

    /// Σₜ ‖Xₜ(W − Wₜ)ᵀ‖² of the first layer's queries, Xₜ what each model's own multiply.
    fn missed(models: &[&Decoder], queries: &Tensor<2>) -> f64 {
        let mut missed = 0.0;
        for model in models {
            for tokens in documents() {
                let heard =
                    model.matrix_inputs(&TokenBatch::document(&tokens), &mut |layer, which, input| {
                        if layer == 0 && which == MatrixInput::Attention {
                            let own = kernel::linear(input.clone(), model.weights.layers[0].q.clone());
                            let difference = kernel::linear(input.clone(), queries.clone()) - own;
                            missed += host(difference)?
                                .iter()
                                .map(|value| f64::from(*value).powi(2))
                                .sum::<f64>();
                        }
                        Ok(())
                    });
                heard.unwrap();
            }
        }
        missed
    }

    #[test]
    fn products_are_nearer_to_the_models_own_than_those_of_the_average() {
        let (one, other) = (model(1), model(2));
        let found = regmean_average(&[&one, &other], &documents(), &mut |_| true).unwrap();
        let average = mean(&[&one, &other]).unwrap();
        let of = |weights: &Weights| missed(&[&one, &other], &weights.layers[0].q);
        let (found_missed, average_missed) = (of(&found.weights), of(&average));
        assert!(
            found_missed < 0.98 * average_missed,
            "{found_missed} {average_missed}"
        );
        // The rest is averaged.
        assert_eq!(
            host(found.weights.norm.clone()).unwrap(),
            host(average.norm).unwrap()
        );
    }

    #[test]
    fn equal_models_stay() {
        let one = model(1);
        let same = regmean_average(&[&one, &one], &documents(), &mut |_| true).unwrap();
        for at in 0..tributary_model::specs(one.config()).len() {
            let [before, after] = [&one, &same].map(|model| model.weights.values(at).unwrap());
            for (before, after) in before.iter().zip(&after) {
                assert!((before - after).abs() < 1e-3, "{at}: {before} {after}");
            }
        }
    }

    #[test]
    fn it_stops_when_asked_and_needs_documents() {
        let model = model(1);
        let stopped = regmean_average(&[&model], &documents(), &mut |_| false);
        assert!(matches!(stopped, Err(SearchError::Stopped)));
        let none = regmean_average(&[&model], &[], &mut |_| true);
        assert!(matches!(none, Err(SearchError::Input(_))));
    }
}
