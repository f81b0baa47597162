//! A small feed-forward network in place of a removed layer (the post-training of ShortGPT, arXiv 2403.03853: gated, 2,048
//! units).
//!
//! The paper starts it anew and trains for long. Here it starts where a closed form brings it: of the removed layer's own feed-forward
//! network the units that say most about what is missing, and for `down_proj` the ridge regression of all that the layer added, its
//! attention's part too, on them ([`crate::regression`]). `train.lm` goes on from there.
//!
//! The model keeps its form, so that every program reads it: the layer stays, with an attention of zeros, and zeros for the units that
//! are gone. Both are fixed points of training: no gradient reaches them.

use tributary_model::{Decoder, Part, host};

use crate::error::{PruneError, Result};
use crate::heal::in_place_of;
use crate::order::Text;
use crate::regression::{Place, sums};

/// The network in place of a layer. Matrices are as large as the layer's, row by row, with zeros for the units that are gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Replaced {
    /// The layer.
    pub layer: usize,
    /// `[intermediate, width]`.
    pub gate: Vec<f32>,
    /// `[intermediate, width]`.
    pub up: Vec<f32>,
    /// `[width, intermediate]`.
    pub down: Vec<f32>,
    /// λ; none where nothing is gained on text held back, and nothing comes out of the network yet.
    pub ridge: Option<f64>,
    /// What is missing on text held back, as a share of what the layer added.
    pub missing: f64,
}

/// Replaces the layers `removed` of `decoder` by networks of `units` units each. `progress` hears of tokens done and all of them,
/// and says whether to go on.
///
/// # Errors
/// [`PruneError::Input`] for no units, or more than a layer has; what the model gives.
pub fn replace(
    decoder: &Decoder,
    removed: &[usize],
    units: usize,
    text: Text<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Decoder, Vec<Replaced>)> {
    let (width, all) = (decoder.config().hidden_size, decoder.config().intermediate_size);
    if !(1..=all).contains(&units) {
        let message = format!("{units} units: a layer has {all}");
        return Err(PruneError::Input(message));
    }
    let mut pruned = decoder.without(Part::Attention, removed);
    for &layer in removed {
        // Nothing comes out at first, so that all that the layer added is missing.
        let down = &mut pruned.weights.layers[layer].down;
        *down = down.zeros_like();
    }
    let mut replaced = Vec::new();
    for &layer in removed {
        let place = Place {
            wanted: layer,
            place: layer,
            part: Part::FeedForward,
            layer,
        };
        let sums = sums(decoder, &pruned, &place, text, progress)?;
        let columns = sums.best_columns(units);
        let found = sums.of_columns(&columns).solve();
        let weights = &mut pruned.weights.layers[layer];
        // Without a solution the units stay and nothing comes out of them, until training changes that.
        let (mut gate, mut up) = (vec![0.0; all * width], vec![0.0; all * width]);
        let mut down = vec![0.0; width * all];
        let (own_gate, own_up) = (host(weights.gate.clone())?, host(weights.up.clone())?);
        for (at, &unit) in columns.iter().enumerate() {
            let row = unit * width..(unit + 1) * width;
            gate[row.clone()].copy_from_slice(&own_gate[row.clone()]);
            up[row.clone()].copy_from_slice(&own_up[row]);
            for (out, row) in down.chunks_mut(all).enumerate() {
                row[unit] = found
                    .as_ref()
                    .map_or(0.0, |found| found.delta[out * columns.len() + at] as f32);
            }
        }
        weights.gate = in_place_of(&weights.gate, &gate);
        weights.up = in_place_of(&weights.up, &up);
        weights.down = in_place_of(&weights.down, &down);
        weights.feeds = true;
        let units = columns.iter().filter_map(|unit| i32::try_from(*unit).ok());
        weights.units = Some(units.collect());
        replaced.push(Replaced {
            layer,
            gate,
            up,
            down,
            ridge: found.as_ref().map(|found| found.ridge),
            missing: found.map_or(1.0, |found| found.missing),
        });
    }
    Ok((pruned, replaced))
}

#[cfg(test)]
mod tests {
    use tributary_evaluate::LikelihoodOptions;
    use tributary_model::TokenBatch;

    use super::*;
    use crate::heal::tests::documents;
    use crate::order::tests::decoder;

    #[test]
    fn a_network_takes_the_place_of_a_layer() {
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
        let distance = |pruned: &Decoder, last: usize| -> f64 {
            let of_document = |document: &tributary_data::Document| {
                let batch = TokenBatch::document(&document.tokens);
                let out = |of: &Decoder, last| {
                    host(of.into_last_matrix(&batch, last, Part::Layer).unwrap().1).unwrap()
                };
                let pairs = out(&decoder, 3).into_iter().zip(out(pruned, last));
                pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
            };
            other.iter().map(of_document).sum()
        };
        let without = distance(&decoder.without(Part::Layer, &[3]), 2);
        let mut last = f64::INFINITY;
        for units in [4, 16, 48] {
            let (pruned, networks) = replace(&decoder, &[3], units, text, &mut |_, _| true).unwrap();
            let after = distance(&pruned, 3);
            assert!(
                after < 0.95 * without && after < 1.02 * last,
                "{units}: {after} {last} {without}"
            );
            last = after;
            let units_left = |matrix: &[f32]| {
                let rows = matrix.chunks(decoder.config().hidden_size);
                rows.filter(|row| row.iter().any(|value| *value != 0.0)).count()
            };
            assert_eq!(units_left(&networks[0].gate), units);
            assert_eq!(units_left(&networks[0].up), units);
            assert!(!pruned.weights.layers[3].attends);
            let config = decoder.config();
            let attention = config.hidden_size * config.head_dim * (2 * config.heads + 2 * config.kv_heads);
            let fewer = attention + 3 * (config.intermediate_size - units) * config.hidden_size;
            assert_eq!(decoder.parameters() - pruned.parameters(), fewer);
            // Without what adds nothing it says the same.
            let batch = TokenBatch::document(&other[0].tokens);
            let (before, after) = (pruned.nll(&batch).unwrap(), pruned.compact().nll(&batch).unwrap());
            assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4));
        }
        // Of one document nothing can be held back: the units are there to be trained.
        let few = Text {
            documents: &calibration[..1],
            options: &options,
        };
        let (_, networks) = replace(&decoder, &[3], 4, few, &mut |_, _| true).unwrap();
        assert!(networks[0].ridge.is_none() && networks[0].up.iter().any(|value| *value != 0.0));
        assert!(networks[0].down.iter().all(|value| *value == 0.0));
        assert!(replace(&decoder, &[3], 49, text, &mut |_, _| true).is_err());
        assert!(replace(&decoder, &[3], 0, text, &mut |_, _| true).is_err());
    }
}
