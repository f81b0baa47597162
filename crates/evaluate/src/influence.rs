//! Block Influence (ShortGPT, arXiv 2403.03853, equation 1): how much a layer changes its input.
//!
//! `BIᵢ = 1 − E[cos(Xᵢ, Xᵢ₊₁)]` over all tokens, Xᵢ being what goes into layer i and Xᵢ₊₁ what comes out of it. The last
//! layer's output is taken before the final normalisation (programs that read transformers' `output_hidden_states` take it
//! after). All tokens that are read count, the first of a window too; the last of a document is only predicted. A layer that changes nothing has 0, one that turns its input
//! around has 2.

use serde::{Deserialize, Serialize};

/// The cosine where there is none, of a vector of zeros, as in the reference implementation.
const UNDEFINED: f32 = 0.5;

/// Block Influence of every layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockInfluence {
    /// By layer, in [0, 2].
    pub layers: Vec<f64>,
    /// Tokens that it is the mean of.
    pub tokens: u64,
}

impl BlockInfluence {
    /// The layers from the least influential on.
    pub fn ranking(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = (0..self.layers.len()).collect();
        layers.sort_by(|a, b| self.layers[*a].total_cmp(&self.layers[*b]));
        layers
    }
}

/// Means over tokens, by layer.
pub(crate) struct MeanSums {
    sums: Vec<f64>,
    /// Tokens seen by the first layer, and so by all.
    tokens: u64,
}

impl MeanSums {
    pub(crate) fn new(layers: usize) -> Self {
        Self {
            sums: vec![0.0; layers],
            tokens: 0,
        }
    }

    /// Adds a batch: the value at every place, and which of them hold tokens.
    pub(crate) fn add(&mut self, layer: usize, values: &[f32], counts: &[bool]) {
        let counted = values.iter().zip(counts).filter(|(_, counts)| **counts);
        self.sums[layer] += counted.map(|(value, _)| f64::from(*value)).sum::<f64>();
        if layer == 0 {
            self.tokens += counts.iter().filter(|counts| **counts).count() as u64;
        }
    }

    pub(crate) fn finish(self) -> Vec<f64> {
        let tokens = self.tokens.max(1) as f64;
        self.sums.iter().map(|sum| sum / tokens).collect()
    }
}

/// Block Influence while it is summed up.
pub(crate) struct InfluenceSums(MeanSums);

impl InfluenceSums {
    pub(crate) fn new(layers: usize) -> Self {
        Self(MeanSums::new(layers))
    }

    /// Adds a batch: the cosine at every place, and which of them hold tokens.
    pub(crate) fn add(&mut self, layer: usize, cosines: &[f32], counts: &[bool]) {
        let influence = |cosine: &f32| match cosine.is_nan() {
            true => 1.0 - UNDEFINED,
            false => 1.0 - cosine.clamp(-1.0, 1.0),
        };
        let influences: Vec<f32> = cosines.iter().map(influence).collect();
        self.0.add(layer, &influences, counts);
    }

    pub(crate) fn finish(self) -> BlockInfluence {
        BlockInfluence {
            tokens: self.0.tokens,
            layers: self.0.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_count_and_zeros_count_half() {
        let mut sums = InfluenceSums::new(2);
        sums.add(0, &[1.0, 1.0, -1.0], &[true, true, false]);
        sums.add(1, &[-1.0, f32::NAN, 0.0], &[true, true, false]);
        let influence = sums.finish();
        assert_eq!(
            influence,
            BlockInfluence {
                layers: vec![0.0, 1.25],
                tokens: 2
            }
        );
        assert_eq!(influence.ranking(), [0, 1]);
    }
}
