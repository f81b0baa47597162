//! Fisher-weighted averaging (Matena and Raffel 2022, arXiv 2111.09832): every parameter is averaged by how much each model's likelihood
//! hangs on it.
//!
//! θ = Σₜ Fₜ θₜ / Σₜ Fₜ, Fₜ = E[(∂ nll / ∂θ)²] over documents, element by element: the diagonal of the empirical Fisher information.
//! Fₜ gets a floor of a share of its own mean, so that where no gradient reaches all models count alike.

use tributary_model::{Decoder, Parameter, TokenBatch, host};

use crate::error::{Result, SearchError};

/// Share of its mean that is added to every element of F.
const FLOOR: f64 = 1e-3;

/// The average of models of one architecture, by their gradients on `documents` (token ids, two or more each; a mean over each
/// document's tokens). `progress` hears of documents done, of all models, and says whether to go on.
///
/// # Errors
/// [`SearchError::Input`] without models or documents; [`SearchError::Stopped`]; what the models give.
pub fn fisher_average(
    models: &[&Decoder],
    documents: &[Vec<u32>],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Decoder> {
    let Some(first) = models.first().filter(|_| !documents.is_empty()) else {
        return Err(SearchError::Input(
            "Fisher information needs models and documents".to_owned(),
        ));
    };
    let mut sums: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    let mut done = 0;
    for model in models {
        let information = information(model, documents, &mut || {
            done += 1;
            progress(done)
        })?;
        for (at, fisher) in information.into_iter().enumerate() {
            let values = model.weights.values(at)?;
            if sums.len() == at {
                sums.push((vec![0.0; values.len()], vec![0.0; values.len()]));
            }
            let floor =
                FLOOR * fisher.iter().map(|f| f64::from(*f)).sum::<f64>() / fisher.len().max(1) as f64;
            // Nothing at all reaches it: alike.
            let floor = floor.max(f64::MIN_POSITIVE);
            let (weighted, total) = &mut sums[at];
            for ((weighted, total), (f, value)) in
                weighted.iter_mut().zip(total).zip(fisher.iter().zip(&values))
            {
                let share = f64::from(*f) + floor;
                *weighted += share * f64::from(*value);
                *total += share;
            }
        }
    }
    let config = first.config().clone();
    let mut sums = sums.into_iter();
    let weights = tributary_model::Weights::build(
        &config,
        &first.device().handle(),
        first.device().compute_dtype(),
        &mut |_| {
            let (weighted, total) = sums.next().unwrap_or_default();
            Ok(weighted
                .iter()
                .zip(&total)
                .map(|(sum, total)| (sum / total) as f32)
                .collect())
        },
    )?;
    Ok(Decoder::new(config, first.device(), weights))
}

/// F of every parameter, in the order of a visit.
fn information(
    model: &Decoder,
    documents: &[Vec<u32>],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Vec<f32>>> {
    let mut tracked = model.frozen();
    tracked.track_gradients();
    let mut sums: Vec<Vec<f32>> = Vec::new();
    for tokens in documents {
        let batch = TokenBatch::document(tokens);
        let scored = batch.scored().max(1) as f32;
        let gradients = tracked.loss(&batch)?.backward();
        let (mut at, mut failure) = (0, None);
        tracked.weights.visit(&mut |parameter| {
            if failure.is_some() {
                return;
            }
            let found = match parameter {
                Parameter::Vector(tensor) => tensor.grad(&gradients).map(host),
                Parameter::Matrix(tensor) => tensor.grad(&gradients).map(host),
            };
            match found {
                Some(Ok(gradient)) => {
                    if sums.len() == at {
                        sums.push(vec![0.0; gradient.len()]);
                    }
                    for (sum, value) in sums[at].iter_mut().zip(&gradient) {
                        *sum += (value / scored).powi(2) / documents.len() as f32;
                    }
                }
                Some(Err(error)) => failure = Some(error),
                None => {
                    failure = Some(tributary_model::ModelError::Input(
                        "a parameter has no gradient".to_owned(),
                    ))
                }
            }
            at += 1;
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        if !go_on() {
            return Err(SearchError::Stopped);
        }
    }
    Ok(sums)
}

#[cfg(test)]
pub(crate) mod tests {
    use tributary_model::{Device, LlamaSizes, ModelConfig};

    use super::*;

    pub(crate) fn model(seed: u64) -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 16,
            intermediate_size: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            vocab_size: 30,
            max_positions: 32,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        });
        Decoder::init(config, Device::Cpu, seed).unwrap()
    }

    #[test]
    fn the_average_lies_between_and_equal_models_stay() {
        let documents: Vec<Vec<u32>> = (0..3)
            .map(|at| (0..12).map(|token| (token * 7 + at) % 30).collect())
            .collect();
        let (one, other) = (model(1), model(2));
        let average = fisher_average(&[&one, &other], &documents, &mut |_| true).unwrap();
        let same = fisher_average(&[&one, &one], &documents, &mut |_| true).unwrap();
        let mut uneven = 0;
        for at in 0..tributary_model::specs(one.config()).len() {
            let [a, b, found, kept] =
                [&one, &other, &average, &same].map(|model| model.weights.values(at).unwrap());
            for (((a, b), found), kept) in a.iter().zip(&b).zip(&found).zip(&kept) {
                assert!(*found >= a.min(*b) - 1e-6 && *found <= a.max(*b) + 1e-6);
                assert!((kept - a).abs() <= 1e-6 * a.abs().max(1e-3));
                uneven += usize::from((found - 0.5 * (a + b)).abs() > 1e-4);
            }
        }
        assert!(uneven > 100, "{uneven}");
    }

    #[test]
    fn it_stops_when_asked_and_needs_documents() {
        let model = model(1);
        let stopped = fisher_average(&[&model], &[vec![1, 2, 3]], &mut |_| false);
        assert!(matches!(stopped, Err(SearchError::Stopped)));
        assert!(matches!(
            fisher_average(&[&model], &[], &mut |_| true),
            Err(SearchError::Input(_))
        ));
    }
}
