//! Where in a model a tensor sits, read off its name.

use std::ops::Range;

/// A tensor's name and its depth in the model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorPlace {
    /// The full name, e.g. `model.layers.3.mlp.up_proj.weight`.
    pub name: String,
    /// Number of its layer, from 0; `None` for embeddings, final norm and head.
    pub layer: Option<usize>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// 0 for the first layer of the stretch that is merged together and for tensors outside the layers, 1 for its last
    /// layer (and for an only layer).
    pub depth: f64,
    /// Length of the part of the name that its layer's tensors share.
    group: usize,
}

impl TensorPlace {
    /// The place of the tensor `name` of this shape, whose layer is one of `stretch`: all layers of the model, or those
    /// of a slice.
    pub fn new(name: &str, shape: &[usize], stretch: Range<usize>) -> TensorPlace {
        let found = layer_of(name);
        let depth = match found {
            Some((layer, _)) if stretch.len() > 1 => {
                let steps = layer.saturating_sub(stretch.start);
                (steps as f64 / (stretch.len() - 1) as f64).min(1.0)
            }
            Some(_) => 1.0,
            None => 0.0,
        };
        TensorPlace {
            name: name.to_string(),
            layer: found.map(|(layer, _)| layer),
            shape: shape.to_vec(),
            depth,
            group: found.map_or(name.len(), |(_, end)| end),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of a row: the last dimension; a vector is one row.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Elements of what belongs to one entry of the first dimension: a token's row, of an embedding or a head.
    pub(crate) fn row_of_tokens(&self) -> usize {
        self.shape
            .get(1..)
            .map_or(1, |rest| rest.iter().product::<usize>().max(1))
    }

    /// What stands for the tensor's layer: `model.layers.3`, or the whole name outside the layers.
    pub fn group(&self) -> &str {
        self.name.get(..self.group).unwrap_or(&self.name)
    }
}

/// The number of the layer in a tensor's name (its first part that is a number) and where that part ends.
pub(crate) fn layer_of(name: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            return part.parse().ok().map(|layer| (layer, end));
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_off_names() {
        let place = TensorPlace::new("model.layers.3.mlp.up_proj.weight", &[2, 3], 0..7);
        assert_eq!(
            (place.layer, place.depth, place.group()),
            (Some(3), 0.5, "model.layers.3")
        );
        let place = TensorPlace::new("transformer.h.11.attn.c_attn.weight", &[2, 3], 0..12);
        assert_eq!(
            (place.layer, place.depth, place.group()),
            (Some(11), 1.0, "transformer.h.11")
        );
        let place = TensorPlace::new("model.embed_tokens.weight", &[2, 3], 0..12);
        assert_eq!(
            (place.layer, place.depth, place.group()),
            (None, 0.0, "model.embed_tokens.weight")
        );
        assert_eq!(TensorPlace::new("model.layers.0.x", &[2, 3], 0..1).depth, 1.0);
        assert_eq!(
            TensorPlace::new("a..99999999999999999999999.b", &[2, 3], 0..1).layer,
            None
        );
    }
}
