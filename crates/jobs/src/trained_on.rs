//! Which texts a model was fitted to, as its manifest tells: by its own training, and by that of every model it was made of.
//!
//! Steps that make models write it as the fact `trained_on`, so that it is known however many trainings, merges and prunings ago a text
//! was read. Models from elsewhere tell nothing.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tributary_pipeline::{JobContext, JobError, Outcome, ResolvedInput};

use crate::data_set::{DataSet, buckets, overlap};

/// Name of the fact.
const FACT: &str = "trained_on";

/// Records of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Trained {
    /// Identity of the content.
    digest: String,
    /// File or files in it.
    path: String,
    /// Which of 1000 buckets of records, from the first to before the second.
    buckets: [u64; 2],
}

impl Trained {
    fn new(digest: &str, path: &str, buckets: &Range<u64>) -> Self {
        Self {
            digest: digest.to_owned(),
            path: path.to_owned(),
            buckets: [buckets.start, buckets.end],
        }
    }

    /// Are there records of this data set among them?
    pub(crate) fn has_records_of(&self, set: &DataSet, input: &ResolvedInput) -> bool {
        let [start, end] = self.buckets;
        self.digest == input.digest && self.path == input.path && overlap(&(start..end), &set.buckets())
    }
}

/// What is known of a model.
pub(crate) fn of(model: &ResolvedInput) -> BTreeSet<Trained> {
    let Some(artifact) = &model.artifact else {
        return BTreeSet::new();
    };
    let manifest = artifact.manifest();
    match manifest.facts.get(FACT) {
        Some(known) => serde_json::from_value(known.clone()).unwrap_or_default(),
        // Written before there was the fact: at least its own training is known.
        None => own(&manifest.settings),
    }
}

/// The data sets of the training that these settings are of.
fn own(settings: &Value) -> BTreeSet<Trained> {
    let set = |set: &Value| {
        let text = |key: &str| set.get("source")?.get(key)?.as_str();
        let split = serde_json::from_value(set.get("split").cloned().unwrap_or(Value::Null));
        let held_out = set.get("held_out").and_then(Value::as_u64).unwrap_or(0);
        let side = buckets(split.unwrap_or_default(), held_out);
        Some(Trained::new(text("digest")?, text("path")?, &side))
    };
    let sets = settings.get("data").and_then(Value::as_array);
    sets.into_iter().flatten().filter_map(set).collect()
}

/// Tells that what was made has seen what these models have, and the data sets of the field `data`.
pub(crate) fn tell<'a>(
    outcome: Outcome,
    models: impl IntoIterator<Item = &'a ResolvedInput>,
    data: &[DataSet],
    context: &JobContext,
) -> Result<Outcome, JobError> {
    let mut known: BTreeSet<Trained> = models.into_iter().flat_map(of).collect();
    for (at, set) in data.iter().enumerate() {
        let input = context.input(&format!("data.{at}.source"))?;
        known.insert(Trained::new(&input.digest, &input.path, &set.buckets()));
    }
    Ok(match known.is_empty() {
        true => outcome,
        false => outcome.fact(FACT, json!(known)),
    })
}
