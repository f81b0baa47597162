//! What the hidden states between layers are like.
//!
//! Place 0 is what goes into the first layer, place l + 1 what comes out of layer l, before the final normalisation. Every token
//! that is read counts, as for Block Influence.

use serde::{Deserialize, Serialize};
use tributary_model::kernel::StateSums;

/// Statistics of the hidden states of one model on one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HiddenStates {
    /// By place: one more than there are layers.
    pub places: Vec<StateStatistics>,
    /// Tokens that they are of.
    pub tokens: u64,
}

/// Of one place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateStatistics {
    /// Mean Euclidean length of a state.
    pub norm: f64,
    /// The largest magnitude of any component: massive activations (arXiv 2402.17762) are thousands of times the usual.
    pub largest: f64,
    /// Mean cosine between the states of two tokens drawn at random (the anisotropy of arXiv 1909.00512), in [0, 1]: 0 where
    /// directions cancel out, 1 where all states point the same way.
    pub alike: f64,
}

/// Hidden states while they are summed up, by place.
pub(crate) struct HiddenSums(Vec<StateSums>);

impl HiddenSums {
    pub(crate) fn new(layers: usize) -> Self {
        Self(vec![StateSums::default(); layers + 1])
    }

    pub(crate) fn add(&mut self, place: usize, sums: &StateSums) {
        self.0[place].add(sums);
    }

    pub(crate) fn finish(self) -> HiddenStates {
        let statistics = |sums: &StateSums| {
            let tokens = sums.rows.max(1) as f64;
            let squares = sums.directions.iter().map(|sum| (sum / tokens).powi(2));
            StateStatistics {
                norm: sums.norms / tokens,
                largest: f64::from(sums.largest),
                alike: squares.sum(),
            }
        };
        HiddenStates {
            tokens: self.0[0].rows,
            places: self.0.iter().map(statistics).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_states_are_not_alike() {
        let sums = |directions: [f64; 2]| StateSums {
            directions: directions.to_vec(),
            norms: 6.0,
            largest: 2.5,
            rows: 2,
        };
        let mut hidden = HiddenSums::new(1);
        hidden.add(0, &sums([2.0, 0.0]));
        hidden.add(1, &sums([1.0, 0.0]));
        hidden.add(1, &sums([-1.0, 0.0]));
        let found = hidden.finish();
        assert_eq!(found.tokens, 2);
        assert_eq!(found.places[0].alike, 1.0);
        assert_eq!(
            found.places[1],
            StateStatistics {
                norm: 3.0,
                largest: 2.5,
                alike: 0.0
            }
        );
    }
}
