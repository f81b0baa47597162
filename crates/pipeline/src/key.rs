//! Cache keys: what a step's artifact depends on, in one digest.
//!
//! A key is the BLAKE3 of canonical JSON that holds the job's kind and version, the settings with every default
//! filled in and every input replaced by its content's digest and sub-path, and the seed. Invariants: two steps
//! with equal keys make equal artifacts; file names, resources, retries, order of keys and clocks are not in it (names of
//! inputs are, where the job says it shows them; a step's id is through its seed, for jobs that draw anything).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::context::ResolvedInput;
use crate::graph::GraphStep;
use crate::node::below;

/// Version of the recipe below; raised when it changes, which makes every artifact anew.
const RECIPE: u32 = 1;
/// Folder of all artifacts in a store.
pub const ARTIFACTS: &str = "artifacts";
/// Folder of all checkpoints in a store.
pub const CHECKPOINTS: &str = "checkpoints";
/// Hexadecimal digits of a key that name folders.
const SHORT: usize = 24;

/// The settings as they count: inputs by content. This is also what the manifest records, so that equal keys mean
/// equal manifests.
pub(crate) fn settings_by_content(step: &GraphStep, inputs: &BTreeMap<String, ResolvedInput>) -> Value {
    let mut settings = step.settings.clone();
    for declaration in &step.inputs {
        let (Some(place), Some(input)) = (
            at_path(&mut settings, &declaration.field),
            inputs.get(&declaration.field),
        ) else {
            continue;
        };
        // Of an outside file only the extension counts: jobs may read the format from it.
        let path = match (&input.artifact, input.is_file) {
            (None, true) => input
                .path
                .rsplit_once('.')
                .map_or(String::new(), |(_, extension)| format!("*.{extension}")),
            _ => input.path.clone(),
        };
        let mut content = json!({ "digest": input.digest, "path": path });
        if let Some(map) = content.as_object_mut().filter(|_| declaration.is_named) {
            map.insert("name".into(), input.label.as_str().into());
        }
        *place = content;
    }
    sorted(settings)
}

/// The cache key of a step whose inputs are known and that runs on `device` (`cpu`, `cuda:0`, …), 64 hexadecimal digits.
pub(crate) fn cache_key(step: &GraphStep, inputs: &BTreeMap<String, ResolvedInput>, device: &str) -> String {
    let mut content = json!({
        "recipe": RECIPE,
        "job": step.job.kind(),
        "version": step.job.version(),
        "settings": settings_by_content(step, inputs),
        "seed": step.seed,
    });
    // Which of several devices it is does not count, and the processor is the rule.
    let kind = device.split(':').next().unwrap_or(device);
    if step.job.uses_device() && kind != "cpu" {
        content["device"] = kind.into();
    }
    blake3::hash(canonical(content).as_bytes()).to_hex().to_string()
}

/// Path of a step's artifact in the store.
pub(crate) fn artifact_path(kind: &str, key: &str) -> String {
    format!("{ARTIFACTS}/{kind}/{}", &key[..SHORT])
}

/// Path of a step's checkpoints in the store.
pub(crate) fn checkpoints_path(key: &str) -> String {
    format!("{CHECKPOINTS}/{}", &key[..SHORT])
}

/// JSON text that depends on the value only: keys sorted, no blanks.
pub(crate) fn canonical(value: Value) -> String {
    sorted(value).to_string()
}

/// The same value with the keys of every object sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect::<Map<_, _>>())
        }
        scalar => scalar,
    }
}

/// The value at a dotted path; keys may hold dots themselves.
fn at_path<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let fitting = map
                .iter_mut()
                .filter_map(|(key, value)| Some((value, below(path, key)?)));
            let (value, rest) = fitting.min_by_key(|(_, rest)| rest.len())?;
            at_path(value, rest)
        }
        Value::Array(items) => {
            let (part, rest) = path.split_once('.').unwrap_or((path, ""));
            at_path(items.get_mut(part.parse::<usize>().ok()?)?, rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // JSON is finite; and -0.0 equals 0.0 without being written like it.
            any::<f64>()
                .prop_filter("finite", |number| number.is_finite() && *number != 0.0)
                .prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// The same value with the keys of every object in the opposite order.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(reversed).collect(),
            Value::Object(map) => {
                let mut entries: Vec<_> = map
                    .iter()
                    .map(|(key, value)| (key.clone(), reversed(value)))
                    .collect();
                entries.reverse();
                Value::Object(entries.into_iter().collect())
            }
            scalar => scalar.clone(),
        }
    }

    proptest! {
        #[test]
        fn order_of_keys_does_not_count_and_everything_else_does(a in values(), b in values()) {
            prop_assert_eq!(canonical(a.clone()), canonical(reversed(&a)));
            prop_assert_eq!(canonical(a.clone()) == canonical(b.clone()), a == b);
            let back: Value = serde_json::from_str(&canonical(a.clone())).unwrap();
            prop_assert_eq!(back, a);
        }
    }
}
