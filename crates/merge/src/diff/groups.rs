//! Tensors put together by layer and by kind of weight.

use std::collections::BTreeMap;

use super::report::{GroupDiff, Measure};
use super::sums::Sums;
use crate::method::layer_of;

/// Layer and kind of a tensor: `model.layers.3.mlp.up_proj.weight` is layer 3, kind `mlp.up_proj`. Further numbers, such
/// as those of experts, become `*`.
pub(crate) fn place(name: &str) -> (Option<usize>, String) {
    let found = layer_of(name);
    let rest = match found {
        Some((_, end)) => name.get(end..).unwrap_or_default().trim_start_matches('.'),
        None => name.strip_prefix("model.").unwrap_or(name),
    };
    let rest = rest.strip_suffix(".weight").unwrap_or(rest);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = rest
        .split('.')
        .map(|part| if is_number(part) { "*" } else { part })
        .collect();
    (found.map(|(layer, _)| layer), parts.join("."))
}

/// A tensor as part of a group.
pub(super) struct Member<'a> {
    pub(super) layer: Option<usize>,
    pub(super) kind: &'a str,
    pub(super) elements: u64,
    pub(super) sums: Sums,
}

#[derive(Default)]
struct Gathered {
    tensors: usize,
    elements: u64,
    sums: Sums,
}

impl Gathered {
    fn add(&mut self, member: &Member<'_>) {
        self.tensors += 1;
        self.elements += member.elements;
        self.sums.add(&member.sums);
    }

    fn finish(self, name: String) -> GroupDiff {
        GroupDiff {
            name,
            tensors: self.tensors,
            elements: self.elements,
            measure: Measure::of(&self.sums),
            differing_share: share(self.sums.differing, self.elements),
        }
    }
}

/// All together.
pub(super) fn total(members: &[Member<'_>]) -> GroupDiff {
    let mut all = Gathered::default();
    members.iter().for_each(|member| all.add(member));
    all.finish("all".to_string())
}

/// By layer; what is in none by its kind, after them.
pub(super) fn by_layer(members: &[Member<'_>]) -> Vec<GroupDiff> {
    gather(members, |member| match member.layer {
        Some(layer) => (layer, format!("layer {layer}")),
        None => (usize::MAX, member.kind.to_string()),
    })
}

/// By kind.
pub(super) fn by_kind(members: &[Member<'_>]) -> Vec<GroupDiff> {
    gather(members, |member| (0, member.kind.to_string()))
}

fn gather(members: &[Member<'_>], key: impl Fn(&Member<'_>) -> (usize, String)) -> Vec<GroupDiff> {
    let mut groups: BTreeMap<(usize, String), Gathered> = BTreeMap::new();
    for member in members {
        groups.entry(key(member)).or_default().add(member);
    }
    groups
        .into_iter()
        .map(|((_, name), group)| group.finish(name))
        .collect()
}

/// A part of a whole; nothing of nothing is nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_are_read_off_names() {
        let kind = |name: &str| place(name);
        assert_eq!(
            kind("model.layers.3.mlp.up_proj.weight"),
            (Some(3), "mlp.up_proj".to_string())
        );
        assert_eq!(
            kind("model.layers.0.mlp.experts.7.w1.weight"),
            (Some(0), "mlp.experts.*.w1".to_string())
        );
        assert_eq!(
            kind("model.embed_tokens.weight"),
            (None, "embed_tokens".to_string())
        );
        assert_eq!(
            kind("model.layers.1.self_attn.q_proj.bias"),
            (Some(1), "self_attn.q_proj.bias".to_string())
        );
    }
}
