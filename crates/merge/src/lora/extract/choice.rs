//! What becomes of each tensor that may differ.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use tributary_tensorfile::TensorInfo;

use crate::lora::names::{is_embedding, is_head};
use crate::method::layer_of;

/// How a tensor goes into an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// As two factors.
    Decompose { is_embedding: bool },
    /// As it is, with all tensors of its module.
    Save,
    /// Not at all, and why.
    Leave(&'static str),
}

/// What is asked for.
pub(super) struct Choice {
    pub(super) include: Option<Regex>,
    pub(super) exclude: Option<Regex>,
    /// Embedding and head, too?
    pub(super) embeddings: bool,
    /// Are they one tensor?
    pub(super) is_tied: bool,
}

impl Choice {
    /// The treatment of every tensor, by name.
    pub(super) fn treatments<'a>(&self, tensors: &'a [TensorInfo]) -> BTreeMap<&'a str, Treatment> {
        let mut found: BTreeMap<&str, Treatment> = tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), self.alone(tensor)))
            .collect();
        // PEFT adapts a module or saves it, and what it saves it saves whole.
        let unsaved: BTreeSet<String> = found
            .iter()
            .filter(|(_, treatment)| **treatment != Treatment::Save)
            .map(|(name, _)| module_of(name).to_string())
            .collect();
        for (name, treatment) in &mut found {
            if *treatment == Treatment::Save && unsaved.contains(module_of(name)) {
                *treatment = Treatment::Leave("a bias beside a weight that is decomposed or left");
            }
        }
        found
    }

    fn alone(&self, tensor: &TensorInfo) -> Treatment {
        let name = tensor.name.as_str();
        let module = module_of(name);
        let is_asked = self.include.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(name));
        if !is_asked {
            return Treatment::Leave("not asked for");
        }
        if !tensor.dtype.is_float() {
            return Treatment::Leave("no floating-point numbers");
        }
        match tensor.shape.len() {
            0 | 1 if name.ends_with(".weight") || name.ends_with(".bias") => Treatment::Save,
            2 if name.ends_with(".weight") => {
                let is_embedding = is_embedding(module);
                if layer_of(name).is_some() && !is_embedding {
                    return Treatment::Decompose { is_embedding: false };
                }
                match (is_embedding || is_head(module), self.embeddings) {
                    (false, _) => Treatment::Leave("a matrix outside the layers"),
                    (true, false) => Treatment::Leave("embedding or head; ask for them with --embeddings"),
                    (true, true) if self.is_tied && is_head(module) => {
                        Treatment::Leave("the same tensor as the embedding")
                    }
                    (true, true) => Treatment::Decompose { is_embedding },
                }
            }
            _ => Treatment::Leave("neither a matrix nor a vector of a module"),
        }
    }
}

/// The module that a tensor belongs to.
pub(super) fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use tributary_tensorfile::DType;

    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> TensorInfo {
        TensorInfo {
            name: name.to_string(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            shard: 0,
            offset: 0,
            bytes: 4 * shape.iter().product::<usize>() as u64,
        }
    }

    #[test]
    fn matrices_of_layers_are_decomposed_and_norms_saved() {
        let tensors = [
            tensor("lm_head.weight", &[9, 4]),
            tensor("model.embed_tokens.weight", &[9, 4]),
            tensor("model.layers.0.norm.weight", &[4]),
            tensor("model.layers.0.q.bias", &[4]),
            tensor("model.layers.0.q.weight", &[4, 4]),
            tensor("model.layers.0.experts.w", &[2, 4, 4]),
            tensor("model.layers.0.v.weight", &[4, 4]),
        ];
        let mut choice = Choice {
            include: None,
            exclude: Some(Regex::new("v.weight").unwrap()),
            embeddings: false,
            is_tied: false,
        };
        let said = |choice: &Choice| {
            let treatments = choice.treatments(&tensors);
            treatments
                .iter()
                .map(|(name, treatment)| format!("{name}: {treatment:?}"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let plain = said(&choice);
        choice.embeddings = true;
        let all = said(&choice);
        insta::assert_snapshot!("treatments", format!("{plain}\n\n{all}"));
    }
}
