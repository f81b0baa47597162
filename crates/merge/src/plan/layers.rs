//! The layers of the result: which layers of which model they are made of, and what their tensors are called.

use std::ops::Range;

use serde_json::{Map, Value};

use super::parts::Part;
use crate::compatibility::{LAYERS, TensorView, layer_count};
use crate::config::Problem;
use crate::method::layer_of;
use crate::source::{Source, SourceTensor};

/// Words in the names of tensors that stand before the first layer.
const BEFORE_LAYERS: &[&str] = &["emb", "wte", "wpe"];

/// Heads, whatever words are in their names.
const HEADS: &[&str] = &["lm_head", "embed_out", "output", "output_layer"];

/// The layers of the result that one part makes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) layers: Range<usize>,
    /// Does it make the tensors before the first layer, and those after the last?
    is_first: bool,
    is_last: bool,
}

/// The stretch of every part, one after the other. Parts of whole models have all layers that `lead` has.
pub(super) fn stretches(parts: &[Part], lead: &Source) -> Vec<Stretch> {
    let mut next = 0;
    let stretch = |(index, part): (usize, &Part)| {
        let taken = part.members.iter().find_map(|member| member.layers);
        let count = taken.map_or_else(|| layers_of(lead), |(first, end)| end.saturating_sub(first));
        let start = next;
        next += count;
        Stretch {
            layers: start..next,
            is_first: index == 0,
            is_last: index + 1 == parts.len(),
        }
    };
    parts.iter().enumerate().map(stretch).collect()
}

/// Number of layers of a model.
pub(super) fn layers_of(source: &Source) -> usize {
    let names = source
        .checkpoint()
        .tensors()
        .iter()
        .map(|tensor| tensor.name.as_str());
    layer_count(&Value::Object(source.configuration().clone()), names)
}

/// Ranges that reach past a model's last layer.
pub(super) fn check_ranges(parts: &[Part], inputs: &[(String, Source)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in parts.iter().flat_map(|part| &part.members) {
        let (Some((_, end)), Some((name, source))) = (member.layers, inputs.get(member.input)) else {
            continue;
        };
        let there = layers_of(source);
        if end > there {
            let message = format!("{name} has {there} layers, so no range may end after {there}");
            problems.push(Problem::value(format!("{}.layer_range", member.path), message));
        }
    }
    problems
}

/// The tensors of a model that one part takes (`taken` layers of it, or all), under the names they have in the result.
pub(super) fn views(source: &Source, taken: Option<(usize, usize)>, stretch: &Stretch) -> Vec<TensorView> {
    let view = |tensor: SourceTensor| {
        let name = match taken {
            None => tensor.info.name.clone(),
            Some(taken) => name_in_result(&tensor.info.name, taken, stretch)?,
        };
        Some(TensorView {
            name,
            stored: tensor.nominal,
            info: tensor.info,
        })
    };
    source.tensors().filter_map(view).collect()
}

/// What the result calls a tensor of a model whose layers `taken` make this stretch; `None` if it is not part of it.
fn name_in_result(name: &str, (first, end): (usize, usize), stretch: &Stretch) -> Option<String> {
    let Some((layer, stop)) = layer_of(name) else {
        let is_head = name.split('.').any(|part| HEADS.contains(&part));
        let is_before = !is_head && BEFORE_LAYERS.iter().any(|word| name.contains(word));
        let is_taken = if is_before {
            stretch.is_first
        } else {
            stretch.is_last
        };
        return is_taken.then(|| name.to_string());
    };
    let place = (first..end)
        .contains(&layer)
        .then(|| stretch.layers.start + layer - first)?;
    let start = name[..stop].rfind('.').map_or(0, |dot| dot + 1);
    Some(format!("{}{place}{}", &name[..start], &name[stop..]))
}

/// Gives a configuration the number of layers of the result, and lists with an entry a layer the entries of the layers
/// that are taken, each from the first model of its slice.
pub(super) fn set_layers(
    fields: &mut Map<String, Value>,
    parts: &[Part],
    inputs: &[(String, Source)],
    stretches: &[Stretch],
) {
    let total = stretches.last().map_or(0, |last| last.layers.end);
    let lists: Vec<String> = fields
        .iter()
        .filter(|(key, value)| key.contains("layer") && value.is_array())
        .map(|(key, _)| key.clone())
        .collect();
    for key in lists {
        let mut entries = Vec::with_capacity(total);
        for part in parts {
            let Some(member) = part.members.first() else {
                continue;
            };
            let Some((first, end)) = member.layers else {
                continue;
            };
            let list = inputs
                .get(member.input)
                .and_then(|(_, source)| source.configuration().get(&key));
            let list = list.and_then(Value::as_array).filter(|list| list.len() >= end);
            entries.extend(list.into_iter().flat_map(|list| list[first..end].iter().cloned()));
        }
        // A list of another length was no list by layer.
        if entries.len() == total {
            fields.insert(key, Value::Array(entries));
        }
    }
    fields.insert(LAYERS.to_string(), Value::from(total));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_renamed_and_the_rest_goes_to_the_ends() {
        let first = Stretch {
            layers: 0..4,
            is_first: true,
            is_last: false,
        };
        let last = Stretch {
            layers: 4..8,
            is_first: false,
            is_last: true,
        };
        let name = |name, stretch| name_in_result(name, (2, 6), stretch);
        let tensor = "model.layers.3.mlp.experts.7.up.weight";
        assert_eq!(
            name(tensor, &first).unwrap(),
            "model.layers.1.mlp.experts.7.up.weight"
        );
        assert_eq!(
            name(tensor, &last).unwrap(),
            "model.layers.5.mlp.experts.7.up.weight"
        );
        assert_eq!(name("model.layers.6.x", &last), None);
        assert_eq!(
            name("model.embed_tokens.weight", &first).unwrap(),
            "model.embed_tokens.weight"
        );
        assert_eq!(name("model.embed_tokens.weight", &last), None);
        assert_eq!(name("lm_head.weight", &last).unwrap(), "lm_head.weight");
        assert_eq!(name("model.norm.weight", &first), None);
        assert_eq!(name("embed_out.weight", &first), None);
    }
}
