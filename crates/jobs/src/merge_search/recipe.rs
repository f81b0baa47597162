//! A method of `merge` with numbers to search for: the merge engine writes into memory, where the model is read again.

use std::collections::BTreeMap;

use tributary_merge::{MergeOptions, MergePlan, MergeSpec, ModelSpec, ParameterValue, Source, Watch, plan};
use tributary_model::{Decoder, Device};
use tributary_pipeline::{InputRef, JobContext, JobError, Problem, ResolvedInput};
use tributary_store::Store;

use super::settings::MethodSettings;
use crate::blame::Blame;
use crate::merge::open;
use crate::names::{distinct, labels};

/// The method, the models it merges, and the parameters to fill in.
#[derive(Default)]
pub(super) struct Recipe {
    spec: MergeSpec,
    sources: Vec<Source>,
    searched: Vec<String>,
    threads: usize,
}

impl Recipe {
    pub(super) fn new(
        merge: &MethodSettings,
        names: &[String],
        inputs: &[&ResolvedInput],
        base: Option<&ResolvedInput>,
        threads: usize,
    ) -> Result<Recipe, JobError> {
        let mut sources = names
            .iter()
            .zip(inputs)
            .map(|(name, input)| open(name, input)?.blame(format!("opening {name}")))
            .collect::<Result<Vec<Source>, JobError>>()?;
        // A checkpoint may be the base too. Those of one training lie in one artifact: only the path tells them apart.
        let is_base = |base: &ResolvedInput, input: &ResolvedInput| {
            (&base.digest, &base.path) == (&input.digest, &input.path)
        };
        let same = base.and_then(|base| inputs.iter().position(|input| is_base(base, input)));
        let base_model = match (base, same) {
            (_, Some(at)) => Some(names[at].clone()),
            (Some(base), None) => {
                let name = distinct(labels(&[base]).remove(0), names.len(), names);
                sources.push(open(&name, base)?.blame("opening the base")?);
                Some(name)
            }
            (None, None) => None,
        };
        Ok(Recipe {
            spec: spec(merge, names, base_model),
            sources,
            searched: merge.search.keys().cloned().collect(),
            threads,
        })
    }

    /// The searched parameters with these values.
    pub(super) fn named(&self, values: &[f64]) -> BTreeMap<String, f64> {
        self.searched
            .iter()
            .cloned()
            .zip(values.iter().copied())
            .collect()
    }

    /// The merge with these values of the searched parameters.
    pub(super) fn plan(&self, values: &[f64]) -> Result<MergePlan, JobError> {
        let spec = filled(self.spec.clone(), self.named(values));
        let options = MergeOptions {
            threads: Some(self.threads.max(1)),
            ..MergeOptions::default()
        };
        plan(&spec, &self.sources, &options).blame("planning the merge")
    }

    /// The model that it gives, in memory.
    pub(super) fn merged(
        &self,
        values: &[f64],
        device: Device,
        context: &JobContext,
    ) -> Result<Decoder, JobError> {
        let store = Store::scratch("merged");
        let watch = Watch {
            progress: &|_| {},
            cancel: context.cancellation.flag(),
        };
        self.plan(values)?.publish(&store, &watch).blame("merging")?;
        Decoder::load(&store.directory(), device).blame("loading the merged model")
    }
}

/// The merge of these models, the searched parameters left out.
fn spec(merge: &MethodSettings, names: &[String], base_model: Option<String>) -> MergeSpec {
    let model = |name: &String| ModelSpec {
        model: name.clone(),
        ..ModelSpec::default()
    };
    let others = names.iter().filter(|name| base_model.as_ref() != Some(name));
    MergeSpec {
        merge_method: merge.merge_method.clone(),
        models: others.map(model).collect(),
        base_model,
        parameters: merge.parameters.clone(),
        ..MergeSpec::default()
    }
}

fn filled(mut spec: MergeSpec, values: BTreeMap<String, f64>) -> MergeSpec {
    let values = values.into_iter();
    spec.parameters
        .extend(values.map(|(name, value)| (name, ParameterValue::from(value))));
    spec
}

/// What is wrong whatever the models are: the method, its parameters, what they are of.
pub(super) fn problems(merge: &MethodSettings, checkpoints: &[InputRef]) -> Vec<Problem> {
    let names: Vec<String> = checkpoints.iter().map(InputRef::to_string).collect();
    let base = merge.base_model.as_ref().map(InputRef::to_string);
    let [least, _] = merge.ends();
    let values = merge.search.keys().cloned().zip(least).collect();
    let problem = |found: tributary_merge::Problem| {
        let name = found.path.strip_prefix("parameters.");
        let field = match name.filter(|name| merge.search.contains_key(*name)) {
            Some(name) => format!("merge.search.{name}"),
            None if found.path.starts_with("models") => "merge".to_owned(),
            None => format!("merge.{}", found.path),
        };
        Problem {
            field,
            message: found.message,
            help: found.help,
        }
    };
    let found = filled(spec(merge, &names, base), values).check();
    found.into_iter().map(problem).collect()
}
