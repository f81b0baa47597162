//! Which texts a model was fitted to, as its manifest tells: by its own training, and by that of every model it was made of.
//!
//! Steps that make models write it as the fact `trained_on`, so that it is known however many trainings, merges and prunings ago a text
//! was read. Texts are told apart by file, or by artifact and file in it: the same sentences elsewhere are other text. Models that no step
//! made tell nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tributary_pipeline::{JobContext, JobError, Outcome, ResolvedInput, TypedJob};

use crate::data_set::{DataSet, Records};
use crate::train_lm::TrainLm;

/// Name of the fact.
const FACT: &str = "trained_on";

/// What is known of a model.
pub(crate) fn of(model: &ResolvedInput) -> BTreeSet<Records> {
    let Some(artifact) = &model.artifact else {
        return BTreeSet::new();
    };
    let manifest = artifact.manifest();
    let told = manifest.facts.get(FACT).cloned().unwrap_or(Value::Null);
    match serde_json::from_value(told) {
        Ok(known) => known,
        // Written before there was the fact: at least its own training is known.
        Err(_) if manifest.producer.job == TrainLm::KIND => own(&manifest.settings),
        Err(_) => BTreeSet::new(),
    }
}

/// The data sets of the training that these settings are of.
fn own(settings: &Value) -> BTreeSet<Records> {
    let sets = settings.get("data").and_then(Value::as_array);
    sets.into_iter()
        .flatten()
        .filter_map(Records::of_settings)
        .collect()
}

/// Tells that what was made has seen what these models have, and the data sets of the field `data`.
pub(crate) fn tell<'a>(
    outcome: Outcome,
    models: impl IntoIterator<Item = &'a ResolvedInput>,
    data: &[DataSet],
    context: &JobContext,
) -> Result<Outcome, JobError> {
    let mut known: BTreeSet<Records> = models.into_iter().flat_map(of).collect();
    for (at, set) in data.iter().enumerate() {
        let input = context.input(&format!("data.{at}.source"))?;
        known.insert(set.records(input));
    }
    Ok(match known.is_empty() {
        true => outcome,
        false => outcome.fact(FACT, json!(known)),
    })
}
