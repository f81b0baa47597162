//! `adapter_config.json` of an extracted adapter, as PEFT reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tributary_tensorfile::TensorInfo;

use super::choice::module_of;
use crate::lora::names::last_part;

/// Writes the configuration: `ranks` by module, the modules that are saved whole, and all tensors of the base.
pub(super) fn configuration(
    base: &str,
    ranks: &BTreeMap<String, usize>,
    saved: &BTreeSet<String>,
    tensors: &[TensorInfo],
) -> Value {
    let rank = most_common(ranks);
    let others: BTreeMap<&String, usize> = ranks
        .iter()
        .filter(|(_, of_module)| **of_module != rank)
        .map(|(module, of_module)| (module, *of_module))
        .collect();
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": true,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "target_modules": targets(ranks, tensors),
        "modules_to_save": (!saved.is_empty()).then_some(saved),
        "rank_pattern": others,
        "alpha_pattern": others,
    })
}

/// The rank of most modules; the smaller one if two are level.
fn most_common(ranks: &BTreeMap<String, usize>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for rank in ranks.values() {
        *counts.entry(*rank).or_default() += 1;
    }
    let most = counts
        .iter()
        .max_by_key(|(rank, count)| (**count, std::cmp::Reverse(**rank)));
    most.map_or(1, |(rank, _)| *rank)
}

/// Modules as PEFT matches them: by the last part of their names where every matrix with that one is adapted, else by
/// their whole names.
fn targets(ranks: &BTreeMap<String, usize>, tensors: &[TensorInfo]) -> BTreeSet<String> {
    let matrices = || tensors.iter().filter(|tensor| tensor.shape.len() > 1);
    let is_whole = |last: &str| {
        let mut modules = matrices().map(|tensor| module_of(&tensor.name));
        modules.all(|module| last_part(module) != last || ranks.contains_key(module))
    };
    let target = |module: &String| match is_whole(last_part(module)) {
        true => last_part(module).to_string(),
        false => module.clone(),
    };
    ranks.keys().map(target).collect()
}
