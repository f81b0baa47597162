//! Is the text something that a checkpoint was trained on? Told by the manifests: which data sets a training read, by content, and
//! which side of the held-out split.

use std::ops::Range;

use serde_json::Value;
use tributary_pipeline::{Problem, ResolvedInput};

use super::settings::MergeSearchSettings;
use crate::data_set::{buckets, overlap};

/// One problem for every data set that a checkpoint's training read.
pub(super) fn problems<'a>(
    settings: &MergeSearchSettings,
    checkpoints: &[&ResolvedInput],
    input: impl Fn(&str) -> Option<&'a ResolvedInput>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, set) in settings.data.iter().enumerate() {
        let field = format!("data.{at}.source");
        let Some(source) = input(&field) else { continue };
        let trained = checkpoints.iter().find(|checkpoint| {
            let sets = trained_on(checkpoint);
            sets.iter().any(|(digest, path, side)| {
                *digest == source.digest && *path == source.path && overlap(side, &set.buckets())
            })
        });
        if let Some(checkpoint) = trained {
            let message = format!("{} was trained on this text", checkpoint.label);
            let help = "take the held-out side (`split: held_out`) of what was trained on with `split: train`, or other text";
            problems.push(Problem::new(field, message).help(help));
        }
    }
    problems
}

/// The data sets of the training that made a checkpoint: content, path in it, buckets.
fn trained_on(checkpoint: &ResolvedInput) -> Vec<(String, String, Range<u64>)> {
    let Some(artifact) = &checkpoint.artifact else {
        return Vec::new();
    };
    let settings = &artifact.manifest().settings;
    let sets = settings.get("data").and_then(Value::as_array);
    let set = |set: &Value| {
        let text = |key: &str| set.get("source")?.get(key)?.as_str().map(str::to_owned);
        let split = serde_json::from_value(set.get("split").cloned().unwrap_or(Value::Null));
        let held_out = set.get("held_out").and_then(Value::as_u64).unwrap_or(0);
        let side = buckets(split.unwrap_or_default(), held_out);
        Some((text("digest")?, text("path")?, side))
    };
    sets.into_iter().flatten().filter_map(set).collect()
}
