//! Gram matrices by tensor, by layer and over all, summed in the order of tensor names.

use std::collections::BTreeMap;

use super::Gram;
use crate::method::TensorPlace;

/// The inner products of the task vectors, at three resolutions.
#[derive(Clone, Debug)]
pub struct GramTable {
    all: Gram,
    layers: BTreeMap<String, Gram>,
    tensors: BTreeMap<String, Gram>,
}

impl GramTable {
    /// From one matrix a tensor. The sums run in the order of the names, whatever order the tensors come in.
    pub fn new(models: usize, tensors: impl IntoIterator<Item = (TensorPlace, Gram)>) -> GramTable {
        let tensors: BTreeMap<String, (TensorPlace, Gram)> = tensors
            .into_iter()
            .map(|(place, gram)| (place.name.clone(), (place, gram)))
            .collect();
        let mut all = Gram::zero(models);
        let mut layers: BTreeMap<String, Gram> = BTreeMap::new();
        for (place, gram) in tensors.values() {
            all.add(gram);
            layers
                .entry(place.group().to_string())
                .or_insert_with(|| Gram::zero(models))
                .add(gram);
        }
        let tensors = tensors
            .into_iter()
            .map(|(name, (_, gram))| (name, gram))
            .collect();
        GramTable { all, layers, tensors }
    }

    /// Over all merged tensors, as if they were one vector.
    pub fn all(&self) -> &Gram {
        &self.all
    }

    /// Over the tensors of the layer of `place`; a tensor outside the layers is its own layer.
    pub fn layer(&self, place: &TensorPlace) -> Option<&Gram> {
        self.layers.get(place.group())
    }

    /// Of one tensor.
    pub fn tensor(&self, place: &TensorPlace) -> Option<&Gram> {
        self.tensors.get(&place.name)
    }

    /// The first tensor and model whose task vector is not finite.
    pub fn first_not_finite(&self) -> Option<(&str, usize)> {
        self.tensors
            .iter()
            .find_map(|(name, gram)| Some((name.as_str(), gram.first_not_finite()?)))
    }
}
