//! What a closed form gives back where layers are gone.
//!
//! Of every stretch of removed layers the layer before it stands in: its last matrix W (`down_proj`, which adds W·a to the
//! residual stream) becomes W + Δ, so that what comes out is as near as it can be to what came out of the whole stretch: Δ is the ridge
//! regression of the missing part on a, over the calibration text,
//!
//! Δ = Rᵀ A (AᵀA + λ·m·I)⁻¹,   A `[tokens, columns of W]`, R = H − H′ `[tokens, width]`,
//!
//! H what came out of the stretch in the whole model, H′ what comes out of the layer before it now ([`crate::regression`]). If no λ
//! is better than doing nothing on text held back, nothing is done. The model keeps its form and its speed. Stretches are healed from the first on, so that later ones
//! see what earlier ones gave back.
//!
//! Where a layer loses a part only, its other part stands in, in the same way: `down_proj` for attention, `o_proj` for the
//! feed-forward network.

use tributary_model::{Decoder, Part, Tensor, host};

use crate::error::Result;
use crate::order::Text;
use crate::regression::{Place, sums};

/// A matrix that stands in for what is removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Healed {
    /// The layer that it is of, by its number in the whole model.
    pub layer: usize,
    /// Its name in the layer: `mlp.down_proj` or `self_attn.o_proj`.
    pub name: &'static str,
    /// `[width, columns]`, row by row.
    pub values: Vec<f32>,
    /// λ.
    pub ridge: f64,
    /// Σ ‖R‖² on the batches held back: what is missing there after healing, as a share of before.
    pub missing: f64,
}

/// Corrects `decoder` without this part of the layers `removed`; gives it, healed, and the matrices that changed. `progress`
/// hears of tokens done and all of them, and says whether to go on. A stretch that begins with layer 0 has no layer before
/// it and is left as it is.
///
/// # Errors
/// What the model gives.
pub fn heal(
    decoder: &Decoder,
    part: Part,
    removed: &[usize],
    text: Text<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Decoder, Vec<Healed>)> {
    let mut pruned = decoder.without(part, removed);
    let mut healed = Vec::new();
    for place in places(part, removed) {
        let sums = sums(decoder, &pruned, &place, text, progress)?;
        let Some(found) = sums.solve() else {
            continue;
        };
        let layer = &mut pruned.weights.layers[place.place];
        let (matrix, name) = match place.part {
            Part::Attention => (&mut layer.o, "self_attn.o_proj"),
            Part::Layer | Part::FeedForward => (&mut layer.down, "mlp.down_proj"),
        };
        let mut values = host(matrix.clone())?;
        for (value, delta) in values.iter_mut().zip(&found.delta) {
            *value += *delta as f32;
        }
        *matrix = in_place_of(matrix, &values);
        healed.push(Healed {
            layer: place.layer,
            name,
            values,
            ridge: found.ridge,
            missing: found.missing,
        });
    }
    Ok((pruned, healed))
}

/// Which matrices stand in for what, from the first on.
fn places(part: Part, removed: &[usize]) -> Vec<Place> {
    let itself = |part: Part| {
        let place = |layer: &usize| Place {
            wanted: *layer,
            place: *layer,
            part,
            layer: *layer,
        };
        removed.iter().map(place).collect()
    };
    match part {
        Part::Attention => itself(Part::FeedForward),
        Part::FeedForward => itself(Part::Attention),
        Part::Layer => {
            let place = |(first, last): (usize, usize)| {
                let layer = first.checked_sub(1)?;
                Some(Place {
                    wanted: last,
                    // Its number among the layers that are left.
                    place: layer - removed.iter().filter(|gone| **gone < layer).count(),
                    part: Part::FeedForward,
                    layer,
                })
            };
            stretches(removed).into_iter().filter_map(place).collect()
        }
    }
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

/// A matrix of these values, shaped and placed as `old`.
pub(crate) fn in_place_of(old: &Tensor<2>, values: &[f32]) -> Tensor<2> {
    Tensor::<1>::from_floats(values, &old.device())
        .reshape(old.dims())
        .cast(old.dtype())
}

#[cfg(test)]
pub(crate) mod tests {
    use tributary_data::Document;
    use tributary_evaluate::{LikelihoodOptions, Wanted, measure};

    use super::*;
    use crate::order::tests::decoder;
    use tributary_model::TokenBatch;

    pub(crate) fn documents(first: u32) -> Vec<Document> {
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
        let (healed, matrices) = heal(&decoder, Part::Layer, &removed, text, &mut |_, _| true).unwrap();
        assert_eq!(matrices.len(), 1);
        assert_eq!(matrices[0].layer, 2);
        assert!(matrices[0].missing < 0.9, "{}", matrices[0].missing);
        assert_eq!(
            host(healed.weights.layers[2].down.clone()).unwrap(),
            matrices[0].values
        );

        // On documents that healing did not see.
        let other = documents(500);
        let distance = |pruned: &Decoder| {
            let mut sum = 0.0;
            for document in &other {
                let batch = TokenBatch::document(&document.tokens);
                let whole = host(decoder.into_last_matrix(&batch, 4, Part::Layer).unwrap().1).unwrap();
                let now = host(pruned.into_last_matrix(&batch, 2, Part::Layer).unwrap().1).unwrap();
                sum += whole
                    .iter()
                    .zip(&now)
                    .map(|(a, b)| f64::from(a - b).powi(2))
                    .sum::<f64>();
            }
            sum
        };
        let (before, after) = (
            distance(&decoder.without(Part::Layer, &removed)),
            distance(&healed),
        );
        assert!(after < 0.95 * before, "{after} {before}");
        let wanted = Wanted::default();
        assert!(measure(&healed, &other, &options, &wanted, &mut |_, _| true).is_ok());
    }

    #[test]
    fn the_other_part_stands_in_for_one_that_is_gone() {
        let mut decoder = decoder();
        let layer = &mut decoder.weights.layers[3];
        layer.down = layer.down.clone().mul_scalar(40.0);
        layer.o = layer.o.clone().mul_scalar(40.0);
        let options = LikelihoodOptions {
            context: 64,
            batch_tokens: 128,
        };
        let (calibration, other) = (documents(0), documents(500));
        let text = Text {
            documents: &calibration,
            options: &options,
        };
        let distance = |pruned: &Decoder| -> f64 {
            let of_document = |document: &Document| {
                let batch = TokenBatch::document(&document.tokens);
                let out =
                    |of: &Decoder| host(of.into_last_matrix(&batch, 3, Part::Layer).unwrap().1).unwrap();
                let pairs = out(&decoder).into_iter().zip(out(pruned));
                pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
            };
            other.iter().map(of_document).sum()
        };
        for (part, name) in [
            (Part::Attention, "mlp.down_proj"),
            (Part::FeedForward, "self_attn.o_proj"),
        ] {
            let (healed, matrices) = heal(&decoder, part, &[3], text, &mut |_, _| true).unwrap();
            assert_eq!(matrices.len(), 1);
            assert_eq!((matrices[0].layer, matrices[0].name), (3, name));
            let (before, after) = (distance(&decoder.without(part, &[3])), distance(&healed));
            assert!(after < 0.95 * before, "{part:?}: {after} {before}");
        }
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
        assert_eq!(
            heal(&decoder, Part::Layer, &[0], text, &mut |_, _| true)
                .unwrap()
                .1,
            []
        );
        assert_eq!(stretches(&[1, 2, 5, 7, 8]), [(1, 2), (5, 5), (7, 8)]);
    }
}
